"""A file with a recipe → that recipe, ready to be painted here, and what of it is not repeated.

The file is a stranger's: its names are looked for on the shelf only, by hash or by name, never as
paths, and nothing is fetched.
"""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gen.models import STARTER, STARTER_FOLDER, resolve
from gen.pipeline import Painter
from gen.prompts import plain_words
from gen.shelf import Shelf
from gen.weights import FileHash
from provenance.errors import MissingError, UsageError
from provenance.inspect import inspect
from provenance.read.found import items_of, object_of, scalars, text_of
from provenance.recipe import MAX_SEED, Lora, Part, Recipe
from provenance.recipe_match import file_stem

MAX_JSON = 2**20  # bytes
_OWN = "Firsthand"
_HASH = re.compile(r"(0x)?([0-9a-f]{10,64})", re.IGNORECASE)
_BRACKETS = re.compile(r"\[([^\[\]]*)\]")
_JOINED = re.compile(r"\bAND\b|\bBREAK\b")
# Settings that say nothing of the pixels, or that a recipe has in fields of its own.
_SILENT = {
    "Denoising strength", "Hashes", "Init image hash", "Lora hashes", "Lora weights", "TI", "User",
    "TI hashes", "VAE", "VAE hash", "Version", "Model hash", "Civitai resources", "Parser",
    "Civitai metadata", "Created Date", "Backend", "Pipeline", "Operations", "nodes",
    "distilled guidance", "generation_mode", "rand_device", "version", "created_by",
    "metadata_scheme", "date", "prep_time", "generation_time", "full_prompt",
    "full_negative_prompt", "images", "aspectratio", "Software", "Source", "Title",
    "Generation time", "request_type", "signed_hash", "Template", "seed",
}  # fmt: skip
_MOST = 20  # settings that are named
_WAY = "give --model to paint with another knowingly"


@dataclass(frozen=True)
class Told:
    """What a file says: a recipe, with the tool that wrote it and what has no field in a recipe."""

    file: Path
    recipe: Recipe
    tool: str | None
    settings: Mapping[str, Any]
    parents: tuple[str, ...] = ()  # what it says that it was made from


@dataclass(frozen=True)
class Repeat:
    """The recipe with all that is here of what it names; `model`, `vae`, `embeddings` to load.

    `complete`: the file says all there is, so that a VAE that it does not name was none.
    """

    recipe: Recipe
    model: str
    vae: str | None
    embeddings: tuple[str, ...]
    not_repeated: tuple[str, ...]
    complete: bool = False


def read_told(file: Path) -> Told:
    """From a picture of ours or of another tool's, or from a .json file: a recipe, or one line of
    `--json`. Raises UsageError where there is none."""
    if file.suffix.lower() in (".json", ".jsonl"):
        return _from_json(file)
    if not file.is_file():
        raise UsageError(f"--from {file}: no such file")
    said = inspect(file)
    if said["recipe"] is None:
        why = said["error"] or "it says nothing of how it was made"
        raise UsageError(f"--from {file}: no recipe in it: {why}")
    return _told(file, said["recipe"], said)


def repeat(told: Told, shelf: Shelf, model: str, given: Collection[str] = ()) -> Repeat:
    """What is here of the file's recipe; MissingError naming a model or LoRA that is not.

    `model` is the one that is used where the file names none. `given` are the fields for which the
    user says something else: `model`, `loras`, `vae`, `embeddings`, `init`, `seed`.
    """
    recipe, notes = told.recipe, list(_not_repeated(told))
    place, vae = model, None
    if "model" not in given:
        place, words = _model(recipe, shelf, model)
        notes += words
    if recipe.vae and "vae" not in given and recipe.vae.name not in ("None", "Automatic"):
        vae, words = _optional(shelf, "vae", recipe.vae, "VAE")
        notes += words
    embeddings = []
    for part in recipe.embeddings if "embeddings" not in given else ():
        found, words = _optional(shelf, "embeddings", part, "embedding")
        embeddings += [found] if found else []
        notes += words
    loras = () if "loras" in given else tuple(_lora(shelf, lora) for lora in recipe.loras)
    recipe = replace(
        recipe, model=None, model_hash=None, vae=None, embeddings=(), loras=loras, init=None
    )
    if "init" not in given and told.recipe.init and not recipe.init_hash:
        notes.append(f"it began with {_shown(told.recipe.init)}, which --init may give")
    if not recipe.init_hash:
        recipe = replace(recipe, strength=None)
    if recipe.seed is not None and not 0 <= recipe.seed <= MAX_SEED:
        recipe = replace(recipe, seed=None)
    if recipe.seed is None and "seed" not in given:
        notes.append("the file has no seed that can be used: a random one is taken")
    return Repeat(recipe, place, vae, tuple(embeddings), tuple(notes), told.tool == _OWN)


def fitted(
    recipe: Recipe, painter: Painter, given: Collection[str] = ()
) -> tuple[Recipe, list[str]]:
    """As the model takes it: its sampler by our names, or the model's own where that does not fit;
    no weights where the model reads none. What the user has `given` stays as it is."""
    notes = []
    begun = Recipe("a", init=recipe.init, init_hash=recipe.init_hash)
    if recipe.init and recipe.init_hash and not _takes(painter, begun):
        notes.append(f"it began with another picture, {recipe.init_hash[:16]}")
        recipe = replace(recipe, init_hash=None)
    plain = replace(
        recipe, prompt=plain_words(recipe.prompt), negative=plain_words(recipe.negative)
    )
    said = {"prompt", "negative"} & set(given)
    if plain != recipe and not said and not _takes(painter, Recipe("(a:1.2)")):
        recipe = plain
        notes.append(f"weights such as (word:1.2), which {painter.spec.name} does not read")
    sampler, spacing = recipe.sampler, recipe.scheduler
    if "sampler" not in given:
        sampler, spacing = _words(sampler, spacing)
    told = " ".join(filter(None, (recipe.sampler, recipe.scheduler)))
    if "sampler" not in given and not _takes(painter, Recipe("a", sampler=sampler)):
        notes.append(f"sampler {told}: the model's own is taken")
        sampler = spacing = None
    elif spacing and not _takes(painter, Recipe("a", sampler=sampler, scheduler=spacing)):
        notes.append(f"schedule {recipe.scheduler or spacing}")
        spacing = None
    here = painter.complete(Recipe("a")).precision
    if recipe.precision and recipe.precision != here:
        notes.append(f"precision {recipe.precision}: here it is {here or 'float32'}")
    return replace(recipe, sampler=sampler, scheduler=spacing), notes


def _takes(painter: Painter, recipe: Recipe) -> bool:
    try:
        painter.complete(recipe)
    except UsageError:
        return False
    return True


def _from_json(file: Path) -> Told:
    try:
        with file.open("rb") as stream:
            text = stream.read(MAX_JSON + 1)
        if len(text) > MAX_JSON:
            raise UsageError(f"--from {file} is larger than {MAX_JSON:,} bytes")
        values = json.loads(text)
    except OSError as error:
        raise UsageError(f"--from {file}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--from {file} is not one JSON object: {error}") from None
    if not isinstance(values, dict):
        raise UsageError(f"--from {file} is not a JSON object")
    recipe = values.get("recipe", values)
    for said in (values, object_of(values.get("labels"))):
        if any(said.get(name) for name in ("made_by", "found", "parents")):
            return _told(file, recipe, said)
    return Told(file, _recipe(file, recipe), _OWN, {})


def _told(file: Path, recipe: Any, said: Mapping[str, Any]) -> Told:
    """`said` is what `inspect` has of a file, or an audit's `labels`."""
    readings = [each for each in map(object_of, items_of(said.get("found"))) if each.get("recipe")]
    readings.sort(key=lambda each: each.get("tool") == "ComfyUI")  # as main_recipe does
    main = readings[0] if readings else object_of(said.get("made_by"))
    settings = scalars(object_of(main.get("settings")))
    parents = map(object_of, items_of(said.get("parents")))
    made_from = tuple(f"{text_of(p.get('uri'))} ({text_of(p.get('why'))})" for p in parents)
    return Told(file, _recipe(file, recipe), text_of(main.get("tool")), settings, made_from)


def _recipe(file: Path, values: Any) -> Recipe:
    try:
        return Recipe.from_json(values if isinstance(values, dict) else {})
    except UsageError as error:
        raise UsageError(f"--from {file}: {error}") from None


def _model(recipe: Recipe, shelf: Shelf, default: str) -> tuple[str, list[str]]:
    """A place for `resolve`, and what must be said of it."""
    name, digest = recipe.model, _digest(recipe.model_hash)
    if not name and not recipe.model_hash:
        return default, [f"the file does not name its model: {default} is taken"]
    for place, known, sha in _own_models(shelf, default):
        if (digest and sha.startswith(digest)) or (
            not digest and file_stem(name or "") == file_stem(known)
        ):
            return place, []
    found = _found(shelf, "models", name, digest)
    if found is None:
        folder = shelf.home / "models" if shelf.home else "the models"
        raise MissingError(
            f"the file was made with {_named('model', name, recipe.model_hash)}, which is not "
            f"here; put it into {folder}, or {_WAY}"
        )
    return str(found), [] if digest else [f"the model's hash is unknown: {found.name} by its name"]


def _own_models(shelf: Shelf, default: str) -> Iterator[tuple[str, str, str]]:
    """(place, name, hash) of the bundled model and of the user's usual one."""
    yield STARTER, STARTER, shelf.hash(STARTER_FOLDER).sha256
    if default != STARTER:
        spec = resolve(default, shelf=shelf)
        yield default, spec.name, spec.hash


def _lora(shelf: Shelf, lora: Lora) -> Lora:
    """By its place on the shelf."""
    found = _found(shelf, "loras", lora.name, _digest(lora.hash))
    if found is None:
        folder = shelf.home / "loras" if shelf.home else "the LoRAs"
        raise MissingError(
            f"the file was made with {_named('LoRA', lora.name, lora.hash)}, which is not here; "
            f"put it into {folder}, or name others with --lora, or `--lora none`"
        )
    return Lora(str(found), lora.weight)


def _optional(shelf: Shelf, kind: str, part: Part, what: str) -> tuple[str | None, list[str]]:
    found = _found(shelf, kind, part.name, _digest(part.hash))
    if found is None:
        return None, [f"{_named(what, part.name, part.hash)} is not in {shelf.home}/{kind}"]
    return str(found), []


def _found(shelf: Shelf, kind: str, name: str | None, digest: str | None) -> Path | None:
    """What is on the shelf with this hash or, where none is known, of this name."""
    places = list(shelf.places(kind))
    same = [path for path in places if name and file_stem(path.name) == file_stem(name)]
    if not digest:
        return same[0] if same else None
    others = [path for path in places if path not in same]
    return next((p for p in (*same, *others) if _is(shelf.hash(p), digest)), None)


def _is(made: FileHash, digest: str) -> bool:
    """By SHA-256 (AutoV2 is its beginning) or by AutoV3."""
    return made.sha256.startswith(digest) or (made.autov3 or "").startswith(digest)


def _digest(text: str | None) -> str | None:
    """A hash that can be compared: not AutoV1 (8 digits), nor InvokeAI's `blake3:…`."""
    match = _HASH.fullmatch(text or "")
    return match[2].lower() if match else None


def _named(what: str, name: str | None, digest: str | None) -> str:
    shown = "".join(c if c.isprintable() else "?" for c in (name or "")[:100])
    return " ".join(filter(None, (what, shown, f"[{digest[:64]}]" if digest else "")))


def _words(sampler: str | None, spacing: str | None) -> tuple[str | None, str | None]:
    """ComfyUI's, InvokeAI's and NovelAI's names nearer to those of gen.samplers."""
    if sampler is None:
        return None, spacing
    words = sampler.strip().lower().replace(" ", "_").removeprefix("sample_").removeprefix("k_")
    words = words.removesuffix("_gpu")
    if words.endswith("_k"):  # InvokeAI
        words, spacing = words[:-2], spacing or "Karras"
    return words.replace("ancestral", "a").replace("_", " "), spacing


def _not_repeated(told: Told) -> Iterator[str]:
    if told.tool == _OWN:
        return
    yield f"made by {_shown(told.tool or 'another tool')}, whose noise for a seed is not ours"
    hires = any(key.startswith("Hires") for key in told.settings)
    if "Denoising strength" in told.settings and not (told.recipe.init_hash or hires):
        yield "it may have begun with another picture: it names a denoising strength"
    for parent in told.parents[:_MOST]:
        yield _shown(f"it was made from {parent}")
    if told.settings.get("samplers", 1) != 1:
        yield _shown(f"{told.settings['samplers']} samplers: the first alone is repeated")
    if _is_edited(told.recipe.prompt):
        yield "[from:to:when], AND and BREAK in the prompt are read as plain words"
    gaps = ("steps", "guidance", "sampler", "width")
    if open_ := [name for name in gaps if getattr(told.recipe, name) is None]:
        yield f"the file does not say {', '.join(open_)}: the model's own is taken"
    left = [key for key in told.settings if key not in _SILENT and key != "samplers"]
    left = [key for key in left if not _usual(key, told.settings[key])]
    for key in left[:_MOST]:
        yield _shown(f"{key}: {told.settings[key]}")
    if len(left) > _MOST:
        yield f"{len(left) - _MOST:,} further settings"


def _is_edited(prompt: str) -> bool:
    """Whether it changes while it is painted: `[from:to:when]`, or is put together."""
    inside = _BRACKETS.findall(prompt)
    timed = any(":" in each and each[-1] in "0123456789." for each in inside if each)
    return timed or bool(_JOINED.search(prompt))


def _usual(key: str, value: Any) -> bool:
    """Whether this is what happens anyway."""
    plain = str(value).strip().lower()
    return (key.lower().replace("_", " "), plain) in {("clip skip", "1"), ("denoise", "1"),
        ("denoise", "1.0")} or plain in ("", "false", "none", "0", "0.0", "[]")  # fmt: skip


def _shown(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text[:100])
