"""A file → everything that it says about itself, as one line of JSON, and how strong each word is.

Strips nothing, claims nothing from absence, follows nothing. Knows nothing of libraries: whether
the picture is known is asked elsewhere.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image

from provenance.errors import DecodeError
from provenance.images import read_file, read_stored
from provenance.label.credentials import Credentials, read_credentials
from provenance.read import main_recipe, readings
from provenance.read.compare import agree, disagreements
from provenance.read.containers import walked_kind
from provenance.read.found import Found
from provenance.read.gather import Gathered, gather
from provenance.recipe import Recipe

Inspection = dict[str, Any]

MAX_RAW = 50_000  # characters of a text that are passed on
MAX_DEPTH = 20
MAX_FOUND = 500  # places


def inspect(path: Path, anchors: str = "") -> Inspection:
    """What the file says. `error`: why its pixels could not be read; its texts are told anyway.

    `anchors` are certificates (PEM) by which Content Credentials are trusted; none without them.
    """
    data, image, error = b"", None, None
    try:
        data = read_file(path)
        image = read_stored(data)
    except DecodeError as problem:
        error = str(problem)
    gathered = gather(data, image)
    credentials = _credentials(gathered, data, image, anchors)
    found = list(islice(readings(gathered.carried), MAX_FOUND))
    found += credentials.found if credentials else ()
    claims = [claim for each in found for claim in (*_made_with(each), *map(asdict, each.claims))]
    told: Inspection = {
        "path": str(path),
        "error": error,
        "file": _file(data, image),
        "made_by": _made_by(found),
        "recipe": recipe.to_json() if (recipe := best_recipe(found)) else None,
        "claims": _once(claims),
        "disagreements": disagreements(found),
        "parents": _once([asdict(parent) for each in found for parent in each.parents]),
        "credentials": credentials.to_json() if credentials else None,
        "marks": [],
        "ledger": None,
        "found": [_reading(each) for each in found if each.tool],
        "unread": list(gathered.unread),
    }
    return _plain(told)  # type: ignore[no-any-return]


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
    gathered: Gathered, data: bytes, image: Image.Image | None, anchors: str
) -> Credentials | None:
    """None where it cannot be known; the library is not loaded for files that surely have none."""
    if gathered.credentials is False:
        pointer = gathered.carried.first("dcterms:provenance")
        return Credentials("remote-only" if pointer else "none")
    kind = walked_kind(data) or (image.format if image is not None else None)
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
