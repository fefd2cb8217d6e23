"""What people look at: a picture beside what it matches, with what they share outlined in both."""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from provenance.errors import DecodeError
from provenance.images import read_picture
from provenance.match import Index
from provenance.scan import thumbnail
from provenance.verdict import REVIEW_SCORE

Row = Mapping[str, Any]
"""One line of a command's JSON."""

_COLOURS = ("#e53935", "#1e88e5", "#fb8c00")  # of the outlines, match by match
_GROUP_SHOWN = 12  # pictures
MAX_ILLUSTRATED = 500  # rows of a page that are told with pictures; a browser opens no thousands


def status(row: Row) -> str:
    """The row's decision; without one, `failed` (a batch's job) or `unreadable` (a file)."""
    return row["decision"] or ("failed" if "job" in row else "unreadable")


def withheld(row: Row) -> dict[str, Any]:
    """The row of a generation without its own picture, and without the place where it is held."""
    return {**row, "path": None, "held": row["held"] and Path(row["held"]).name}


def evidence(row: Row, index: Index) -> dict[str, Any]:
    """The row with pictures as data URIs; a withheld picture has none."""
    close = [match for match in row["matches"] if match["score"] >= REVIEW_SCORE]
    close = close[: len(_COLOURS)]
    shown = [
        {**match, "image": _reference_image(match, index, colour), "colour": colour}
        for match, colour in zip(close, _COLOURS, strict=False)
    ]
    if row.get("references"):
        shown = [_same_recipe(uri, index) for uri in row["references"][: len(_COLOURS)]]
    name = row.get("path") or f"seed {row.get('seed')}, withheld"
    image = None if row["error"] else _own_image(row.get("path"), close)
    return {**row, "name": name, "status": status(row), "image": image, "shown": shown}


def _same_recipe(uri: str, index: Index) -> dict[str, Any]:
    known = index.reference(uri)
    said = {"title": known.title, "license": known.license} if known else {"title": ""}
    match = {"uri": uri, "why": "same recipe", **said}
    return {**match, "image": _reference_image(match, index, "")}


def near_duplicates(rows: Sequence[Row]) -> dict[int, list[Row]]:
    """The rows of each group of near duplicates, by the group's number."""
    groups: dict[int, list[Row]] = {}
    for row in rows:
        if row.get("group"):
            groups.setdefault(row["group"]["id"], []).append(row)
    return dict(sorted(groups.items()))


def is_outside(row: Row) -> bool:
    """Whether a picture of no group is close to some, but not all, of one."""
    return bool(row.get("near")) and not row["group"]


def group_evidence(group: Sequence[Row], rows: Sequence[Row]) -> dict[str, Any]:
    """A group's pictures beside each other, and those close to some of them, as data URIs."""
    names = {row["path"] for row in group}
    outside = [row for row in rows if is_outside(row) and row["near"][0]["path"] in names]
    return {
        "number": group[0]["group"]["id"],
        "size": len(group),
        "pictures": [
            {"name": row["path"], "image": _own_image(row["path"], ()), "to": row["group"]}
            for row in group[:_GROUP_SHOWN]
        ],
        "outside": [
            {"name": row["path"], "image": _own_image(row["path"], ()), "to": row["near"][0]}
            for row in outside[:_GROUP_SHOWN]
        ],
    }


def _reference_image(match: Mapping[str, Any], index: Index, colour: str) -> str | None:
    reference = index.reference(match["uri"])
    webp = index.thumbnail(reference) if reference else None
    if reference is None or webp is None:
        return None
    held = index.features(reference)
    if not match.get("reference_region") or held is None:
        return _data_uri(webp)
    image = Image.open(io.BytesIO(webp)).convert("RGB")
    for region in (match["reference_region"], *_further(match, "reference")):
        _outline(image, region, image.width / held[1][0], colour)
    return _data_uri(thumbnail(image))


def _own_image(path: str | None, matches: Sequence[Mapping[str, Any]]) -> str | None:
    if path is None:
        return None
    try:
        whole = read_picture(Path(path)).image
    except DecodeError:
        return None
    image = Image.open(io.BytesIO(thumbnail(whole))).convert("RGB")
    for match, colour in zip(matches, _COLOURS, strict=False):
        if match.get("region"):
            for region in (match["region"], *_further(match, "picture")):
                _outline(image, region, image.width / whole.width, colour)
    return _data_uri(thumbnail(image))


def _further(match: Mapping[str, Any], where: str) -> list[Any]:
    """The regions after the best, in the `picture` or in the `reference`."""
    return [region[where] for region in match["further_regions"]]


def _outline(
    image: Image.Image, region: Sequence[Sequence[float]], scale: float, colour: str
) -> None:
    """Draws a polygon that is told in pixels of a larger picture."""
    corners = [(x * scale, y * scale) for x, y in region]
    ImageDraw.Draw(image).polygon(corners, outline=colour, width=max(2, max(image.size) // 96))


def _data_uri(webp: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(webp).decode()}"
