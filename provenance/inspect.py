"""A file → everything that it says about itself, as one line of JSON, and how strong each word is.

Strips nothing, claims nothing from absence, follows nothing. Knows nothing of libraries: whether
the picture is known is asked elsewhere.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image

from provenance.errors import DecodeError
from provenance.images import Picture, read_file, read_stored, upright
from provenance.label.credentials import Credentials, read_credentials
from provenance.label.mark import detect
from provenance.ledger import Ledger, fingerprinter
from provenance.read import main_recipe, readings
from provenance.read.compare import agree, disagreements
from provenance.read.containers import walked_kind
from provenance.read.found import Found
from provenance.read.gather import Gathered, gather, gather_decoded
from provenance.read.pipelines import pipeline_marks
from provenance.recipe import Recipe

Inspection = dict[str, Any]

MAX_RAW = 50_000  # characters of a text that are passed on
MAX_DEPTH = 20
MAX_FOUND = 500  # places
MAX_LABELS = 20  # claims, and parents, that an audit passes on
_OWN_MARK = "firsthand-mark"


@dataclass(frozen=True)
class Said:
    """What a file says: the readers' accounts, those of its Content Credentials, what was not read.

    `credentials` is None where it cannot be known whether there are any.
    """

    found: tuple[Found, ...]
    credentials: Credentials | None
    unread: tuple[str, ...]

    @property
    def recipe(self) -> Recipe | None:
        return best_recipe(self.found)

    @property
    def parents(self) -> list[dict[str, Any]]:
        return _once([asdict(parent) for each in self.found for parent in each.parents])

    @property
    def claims(self) -> list[dict[str, Any]]:
        each = ((*_made_with(each), *map(asdict, each.claims)) for each in self.found)
        return _once([claim for claims in each for claim in claims])


@dataclass(frozen=True)
class Traces:
    """What this home can look for in pixels: its marks, by their key, and its ledger's entries."""

    key: bytes | None = None
    ledger: Ledger | None = None


def inspect(path: Path, anchors: str = "", traces: Traces = Traces()) -> Inspection:
    """What the file says. `error`: why its pixels could not be read; its texts are told anyway.

    `matches` is for who has a library: None until one was asked. `anchors` are certificates (PEM)
    by which Content Credentials are trusted; none without them.
    """
    data, image, error = b"", None, None
    try:
        data = read_file(path)
        image = read_stored(data)
    except DecodeError as problem:
        error = str(problem)
    said = _said(gather(data, image), data, image.format if image else None, anchors)
    measured = _file(data, image)
    marks, entry = _traced(data, image, traces) if image else ([], None)
    told: Inspection = {
        "path": str(path),
        "error": error,
        "file": measured,
        "made_by": _made_by(said.found),
        "recipe": recipe.to_json() if (recipe := said.recipe) else None,
        "claims": said.claims,
        "disagreements": disagreements(said.found),
        "parents": said.parents,
        "credentials": said.credentials.to_json() if said.credentials else None,
        "marks": marks,
        "ledger": entry,
        "matches": None,
        "found": [_reading(each) for each in said.found if each.tool],
        "unread": list(said.unread),
    }
    return _plain(told)  # type: ignore[no-any-return]


def heard(data: bytes, picture: Picture, anchors: str = "") -> Said:
    """What the file of a decoded picture says; nearly free where it says nothing."""
    return _said(gather_decoded(data, picture.texts), data, None, anchors)


def labels(said: Said) -> dict[str, Any]:
    """What the file says in short, for an audit; empty where it says nothing."""
    told = {
        "made_by": _made_by(said.found),
        "claims": said.claims[:MAX_LABELS],
        "parents": said.parents[:MAX_LABELS],
        "disagreements": [each["what"] for each in disagreements(said.found)],
    }
    held = said.credentials.to_json() if said.credentials else None
    if held and held["outcome"] != "none":
        told["credentials"] = held
    return _plain({name: value for name, value in told.items() if value})  # type: ignore[no-any-return]


def _said(gathered: Gathered, data: bytes, kind: str | None, anchors: str) -> Said:
    credentials = _credentials(gathered, data, kind, anchors)
    found = tuple(islice(readings(gathered.carried), MAX_FOUND))
    more = credentials.found if credentials else ()
    return Said((*found, *more), credentials, gathered.unread)


def _traced(
    data: bytes, stored: Image.Image, traces: Traces
) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """The marks in the pixels, and the ledger's entry that the picture can be traced to."""
    try:
        image = upright(stored)
    except DecodeError:
        return [], None
    found = marks(image, traces.key, parts=True)
    if not traces.ledger:
        return found, None
    (print_,) = fingerprinter().describe([image])
    entry = traces.ledger.traced(print_, data, payload(found))
    return found, entry.to_json() if entry else None


def marks(image: Image.Image, key: bytes | None, *, parts: bool) -> list[dict[str, Any]]:
    """The marks in an RGB picture: those of known pipelines, and this home's, by its key.

    With `parts` this home's is found where edges were cut off too, which takes seconds.
    """
    found = [asdict(claim) for claim in pipeline_marks(image)]
    own = detect(image, key, parts=parts) if key else None
    if own:
        found.append({"what": _OWN_MARK, "value": own.payload.hex(), "source": "pixels",
                      "strength": "measured", "chance": own.chance})  # fmt: skip
    return found


def payload(found: Sequence[dict[str, Any]]) -> bytes | None:
    """What this home's mark carries, where it is among the marks that were found."""
    own = [bytes.fromhex(mark["value"]) for mark in found if mark["what"] == _OWN_MARK]
    return own[0] if own else None


def best_recipe(found: Sequence[Found]) -> Recipe | None:
    """The main recipe, its gaps filled from those that contradict it nowhere."""
    best = main_recipe(list(found))
    for each in found:
        if best and each.recipe and agree(best, each.recipe):
            best = _filled(best, each.recipe)
    return best


def _filled(recipe: Recipe, other: Recipe) -> Recipe:
    empty = (None, "", ())
    gaps = {name: value for name, value in vars(other).items() if value not in empty}
    return replace(recipe, **{k: v for k, v in gaps.items() if getattr(recipe, k) in empty})


def _made_by(found: Sequence[Found]) -> dict[str, str | None] | None:
    main = next((each for each in found if each.tool), None)
    if main is None:
        return None
    versions = [each.version for each in found if each.tool == main.tool and each.version]
    return {"tool": main.tool, "version": versions[0] if versions else None}


def _made_with(found: Found) -> list[dict[str, Any]]:
    if not found.tool or any(claim.what == "made-with" for claim in found.claims):
        return []
    value = f"{found.tool} {found.version}" if found.version else found.tool
    return [{"what": "made-with", "value": value, "source": found.source, "strength": "claimed"}]


def _file(data: bytes, image: Image.Image | None) -> dict[str, Any] | None:
    """What is measured, whatever the file is called."""
    if not data:
        return None
    if image is None:
        return {"bytes": len(data), "format": None, "width": None, "height": None}
    size = {"width": image.width, "height": image.height}
    return {"bytes": len(data), "format": image.format, **size}


def _credentials(
    gathered: Gathered, data: bytes, decoded: str | None, anchors: str
) -> Credentials | None:
    """None where it cannot be known; the library is not loaded for files that surely have none."""
    if gathered.credentials is False:
        pointer = gathered.carried.first("dcterms:provenance")
        return Credentials("remote-only" if pointer else "none")
    kind = walked_kind(data) or decoded
    return read_credentials(data, kind.upper(), anchors) if kind else None


def _reading(found: Found) -> dict[str, Any]:
    """One reader's account of one place, with the text as it stands there."""
    return {
        "tool": found.tool,
        "version": found.version,
        "source": found.source,
        "recipe": found.recipe.to_json() if found.recipe else None,
        "settings": found.settings,
        "raw": found.raw[:MAX_RAW],
        "raw_characters": len(found.raw),
    }


def _once(things: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({json.dumps(each, default=str): each for each in things}.values())


def _plain(value: Any, depth: int = 0) -> Any:
    """The value as JSON in UTF-8 can hold it: no lone surrogates, no NaN, not too deep."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict | list | tuple) and depth == MAX_DEPTH:
        return None
    if isinstance(value, dict):
        return {_plain(str(key)): _plain(each, depth + 1) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each, depth + 1) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int) and abs(value) >= 2**127:
        return None
    return value
