"""The only place that builds things: settings → library, checker, studio."""

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from gen.addons import Addons
from gen.gates import Gate, RecipeGate, Refused
from gen.models import ModelSpec, resolve
from gen.pipeline import Painter, load
from gen.shelf import Shelf
from gen.studio import Studio, Watching
from gen.usual import kept
from index.describe import Progress, describe
from index.descriptors import require_comparable
from index.library import Library
from index.sources import Source
from provenance.audit import Journal
from provenance.check import Asked, Checker
from provenance.embed.bundled import BundledDescriptor
from provenance.embed.named import named
from provenance.errors import CheckError, DecodeError, UsageError
from provenance.files import write_whole
from provenance.fingerprint import DescriptorSpec, Fingerprinter
from provenance.groups import Grouping
from provenance.hashes import hash_descriptors
from provenance.images import read_picture
from provenance.inspect import Inspection, Traces
from provenance.label.authority import (
    Credential,
    authority_certificate,
    local_credential,
    user_credential,
)
from provenance.label.labeller import Labelled, Labeller
from provenance.label.mark import SMALLEST, embed, mark_key
from provenance.label.profiles import Style, profile_named
from provenance.label.signing import Signer
from provenance.ledger import Ledger, payload_of
from provenance.local.features import LocalDescriptor
from provenance.recipe import Recipe
from provenance.verdict import Verdict, as_match, load_policy
from ui.settings import Settings


def fingerprinter(
    settings: Settings | None = None,
    *,
    fast: bool = False,
    only: Collection[DescriptorSpec] | None = None,
) -> Fingerprinter:
    """The product's descriptors and the settings'; `fast` leaves all but pHash out."""
    if fast:
        return Fingerprinter()
    chosen = () if settings is None else map(named, settings.descriptors)
    made = (*hash_descriptors(), BundledDescriptor(), LocalDescriptor(), *chosen)
    return Fingerprinter([each for each in made if only is None or each.spec in only])


def factory(
    settings: Settings | None = None,
    *,
    fast: bool = False,
    only: Collection[DescriptorSpec] | None = None,
) -> Callable[[], Fingerprinter]:
    """`fingerprinter` in a form that travels to worker processes."""
    return partial(fingerprinter, settings, fast=fast, only=only)


def open_library(settings: Settings) -> Library:
    """Raises MissingError where there is none."""
    return Library.open(settings.library)


def make_library(settings: Settings) -> Library:
    """The library, made where there is none."""
    return Library.create(settings.library, fingerprinter(settings).specs)


def make_checker(settings: Settings, library: Library, *, fast: bool = False) -> Checker:
    """The checker over a library, by the settings' policy."""
    prints = fingerprinter(settings, fast=fast)
    require_comparable(library.specs, prints.specs)
    policy = load_policy(settings.policy)
    if fast:
        policy = policy.fast_only()
    return Checker(prints, library, policy)


def add_descriptors(
    settings: Settings,
    library: Library,
    sources: Sequence[Source],
    on_progress: Callable[[Progress], None],
    *,
    from_thumbnails: bool,
) -> tuple[list[str], Progress]:
    """Adds what the settings name and the library lacks; returns the names of what was added."""
    held = library.specs
    lacking = [spec for spec in fingerprinter(settings).specs if spec not in held]
    if not lacking:
        return [], Progress()
    done = describe(
        library,
        lacking,
        factory(settings, only=lacking),
        files={item.uri: item.path for source in sources for item in source.items()},
        from_thumbnails=from_thumbnails,
        workers=settings.workers,
        on_progress=on_progress,
    )
    return [spec.name for spec in lacking], done


def make_studio(settings: Settings, checker: Checker, *, gated: bool = True) -> Studio:
    """The studio with the settings' model; `gated=False` leaves the recipe gate out (the demo)."""
    saved_as, signer = style(settings), make_signer(settings)
    painter = make_painter(settings)
    gates: list[Gate] = []
    gates += [RecipeGate(checker.index, painter.spec.other_hashes)] if gated else []
    key = mark_key(settings.mark_key) if settings.mark else None
    gates += [_has_room_for_the_mark] if key else []
    label = Labeller(
        saved_as,
        signer,
        painter.begun,
        cite=checker.policy.cite,
        mark=partial(_marked, key) if key else None,
        record=partial(_recorded, settings.ledger, marked=settings.mark),
    )
    hold = partial(hold_for_review, settings.review)
    # Networks load now: while LoRAs do, in the thread that paints, new modules have no data.
    checker.fingerprinter.describe([Image.new("RGB", (64, 64))])
    watch = watching(settings, painter.spec)
    return Studio(painter, checker, gates, hold, label, watch, replace(label, record=None))


def watching(settings: Settings, spec: ModelSpec) -> Watching | None:
    """How painting is watched; None where the settings say that it is not."""
    if settings.watch == "off":
        return None
    usual = kept(spec, settings.home)
    return Watching(usual.limit if usual else None, always=settings.watch == "always")


def _has_room_for_the_mark(recipe: Recipe) -> Refused | None:
    if min(recipe.width or 0, recipe.height or 0) >= SMALLEST:
        return None
    return Refused(
        f"an invisible mark (the setting mark) needs {SMALLEST} pixels a side, "
        f"{recipe.width} x {recipe.height} were asked for",
        (),
    )


def _marked(key: bytes, image: Image.Image, recipe: Recipe) -> Image.Image:
    return embed(image, key, payload_of(recipe))


def _recorded(
    file: Path, made: Labelled, recipe: Recipe, verdict: Verdict, *, marked: bool
) -> None:
    """Opened each time: labelling is not always done by one thread."""
    with Ledger(file) as ledger:
        ledger.add(
            made.data,
            recipe,
            verdict,
            manifest=made.labels["manifest"],
            payload=payload_of(recipe) if marked else None,
        )


def style(settings: Settings) -> Style:
    """How pictures are labelled and saved."""
    return Style(
        profile_named(settings.label),
        settings.format,
        settings.quality,
        settings.visible_label,
        settings.label_prompt,
        settings.provider,
    )


def make_signer(settings: Settings) -> Signer:
    """What pictures are signed with: the user's own key, or the home's, made when first needed."""
    return Signer(credential(settings))


def credential(settings: Settings) -> Credential:
    key, chain = settings.signing_key, settings.signing_chain
    if (key is None) != (chain is None):
        raise UsageError("signing_key and signing_chain go together; one of them is not set")
    if key is None or chain is None:
        made = local_credential(settings.credentials)
        return replace(made, timestamp_authority=settings.timestamp_authority)
    return user_credential(key, chain, settings.timestamp_authority)


def anchors(settings: Settings) -> str:
    """Certificates (PEM) by which signers are believed: this home's own, and the settings'."""
    own = authority_certificate(settings.credentials) or ""
    return own + (_certificates(settings.trust) if settings.trust else "")


def _certificates(file: Path) -> str:
    """The certificates of a trust list, without what is written between them."""
    try:
        text = file.read_text("latin-1")
    except OSError as error:
        raise UsageError(f"trust {file}: {error.strerror}") from None
    found = re.findall(r"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n?", text)
    if not found:
        raise UsageError(f"trust {file} holds no certificate in PEM")
    return "\n".join(found)


def worker_studio(settings: Settings, place: Path) -> Studio:
    """The studio of a worker elsewhere; `place` is the folder that relative paths begin at."""
    try:
        os.chdir(place)
    except OSError as error:
        raise UsageError(f"a worker lacks the folder {place}: {error.strerror}") from None
    return make_studio(settings, make_checker(settings, open_library(settings)))


def shelf(settings: Settings) -> Shelf:
    """The home's models, LoRAs, VAEs and embeddings."""
    return Shelf(settings.home, unsafe_pickle=settings.unsafe_pickle)


def make_painter(settings: Settings) -> Painter:
    """The settings' model, with what goes with it; says on standard error how it is run."""
    kept = shelf(settings)
    spec = resolve(settings.model, config=settings.config, shelf=kept)
    painter = load(spec, Addons(settings.vae, settings.embeddings, kept), settings.engine)
    print(painter.plan, file=sys.stderr)
    return painter


@contextmanager
def traces(settings: Settings) -> Iterator[Traces]:
    """The home's key for marks and its ledger, as far as they are there."""
    key = mark_key(settings.mark_key) if settings.mark_key.is_file() else None
    with ExitStack() as stack:
        is_there = settings.ledger.is_file()
        ledger = stack.enter_context(Ledger(settings.ledger, create=False)) if is_there else None
        yield Traces(key, ledger)


Known = Callable[[Path, Inspection], Verdict]


@contextmanager
def known(settings: Settings) -> Iterator[Known | None]:
    """Judges an inspected picture against the library; None where there is no library."""
    if not (settings.library / "catalog.sqlite").is_file():
        yield None
        return
    with open_library(settings) as library:
        checker = make_checker(settings, library)

        def judge(path: Path, row: Inspection) -> Verdict:
            picture = read_picture(path)
            (print_,) = checker.fingerprinter.describe([picture.image])
            recipe = Recipe.from_json(row["recipe"]) if row["recipe"] else None
            parents = tuple(parent["uri"] for parent in row["parents"])
            return checker.judge_each([Asked(print_, picture.frames, recipe, parents)])[0]

        yield judge


def batch_basis(settings: Settings, library: Library) -> str:
    """What a batch's verdicts and files rest on beside recipes: policy, library, labels, config."""
    checked_by = f"{load_policy(settings.policy)} {library.calibration} {library.version}"
    painted_by = _digest_of(settings.config, shelf(settings)) if settings.config else ""
    return f"{checked_by} {style(settings)} {settings.mark} {painted_by}"


def _digest_of(folder: Path, shelf: Shelf) -> str:
    """Of all files in it; a recipe does not name a single file's configuration."""
    return shelf.hashes.of_folder(folder, sorted(p for p in folder.rglob("*") if p.is_file()))


@contextmanager
def audit_records(
    settings: Settings, roots: Sequence[Path], checker: Checker, *, groups: bool, marks: bool
) -> Iterator[tuple[Journal, Grouping | None]]:
    """What an audit of these paths, by this policy and against this library, finds as it goes.

    The next one goes on from there if this one is stopped; one that reaches its end leaves nothing.
    """
    place = [str(settings.library), checker.policy.name, *(str(path.resolve()) for path in roots)]
    name = hashlib.sha256("\n".join(place).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    folder = settings.home / "audits" / name
    with ExitStack() as stack:
        grouping, identity = None, "no groups"
        if groups:
            pictures = stack.enter_context(_pictures(folder / "pictures", checker))
            stack.enter_context(pictures.writing())
            identity = pictures.version.partition("-")[0]
            inside = Checker(checker.fingerprinter, pictures, checker.policy)
            grouping = Grouping(inside, pictures)
        key = mark_key(settings.mark_key) if marks and settings.mark_key.is_file() else b""
        read_by = hashlib.sha256(anchors(settings).encode() + key).hexdigest()
        basis = f"{checker.policy} {checker.index.version} {identity}{' marks' * marks} {read_by}"
        journal = stack.enter_context(Journal(folder / "journal.jsonl", basis))
        yield journal, grouping
    shutil.rmtree(folder)


def _pictures(folder: Path, checker: Checker) -> Library:
    """The library of an audit's own pictures: a cache, made anew when in doubt."""
    try:
        return Library.create(folder, checker.fingerprinter.specs)
    except CheckError:
        shutil.rmtree(folder)
        return Library.create(folder, checker.fingerprinter.specs)


def nearest(settings: Settings, library: Library, image: Path, count: int) -> list[dict[str, Any]]:
    """The references nearest to a picture as the JSON of matches, best first."""
    checker = make_checker(settings, library)
    try:
        picture = read_picture(image)
    except DecodeError as error:
        raise DecodeError(f"{image}: {error}") from None
    fingerprint = checker.fingerprinter.describe([picture.image])[0]
    found = [as_match(each, checker.policy) for each in checker.candidates(fingerprint)]
    found.sort(key=lambda match: (-match.score, match.reference.uri))
    return [match.to_json() for match in found[:count]]


def hold_for_review(store: Path, picture: Labelled, recipe: Recipe, verdict: Verdict) -> str:
    """Keeps a picture in the review store, its evidence beside it; returns its path.

    The same picture has the same name, so that it is there once however often it is made.
    """
    store.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = store / f"{recipe.seed}-{picture.labels['content'][:16]}{picture.suffix}"
    evidence = {**verdict.to_json(), "recipe": recipe.to_json(), "labels": picture.labels}
    body = json.dumps(evidence, indent=1, ensure_ascii=False)
    write_whole(path.with_suffix(".json"), body.encode())
    write_whole(path, picture.data)
    return str(path)
