"""A batch's pages: contact sheets of the clear pictures, the evidence on the others.

Written beside the journal; every page is whole in itself. No picture that is not clear is on them.
"""

import base64
import io
import json
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image

from provenance.errors import DecodeError
from provenance.files import write_whole
from provenance.images import read_picture
from provenance.match import Index
from ui.evidence import MAX_ILLUSTRATED, Row, evidence, status, withheld
from ui.report import render

EVIDENCE = "evidence.html"
PER_SHEET = 500  # pictures
_THUMBNAILS = ".thumbnails.jsonl"
SIDE = 160  # pixels of a thumbnail's longest side


class Thumbnails:
    """Of the pictures in a folder, as data URIs, each made once: kept in a file of JSON lines."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / _THUMBNAILS
        self._known: dict[str, list[Any]] = {}
        with suppress(OSError):
            for line in self._file.read_bytes().splitlines():
                with suppress(ValueError):  # cut short by a kill
                    name, *made = json.loads(line)
                    self._known[name] = made

    def of(self, name: str) -> dict[str, Any] | None:
        """`uri`, `width`, `height`; None where the picture is gone or cannot be read."""
        try:
            path = self._folder / name
            changed = path.stat().st_mtime_ns
            if self._known.get(name, [None])[0] != changed:
                self._keep(name, [changed, *_small(read_picture(path).image)])
        except (OSError, DecodeError):
            return None
        _, uri, width, height = self._known[name]
        return {"uri": uri, "width": width, "height": height}

    def keep_only(self, names: Collection[str]) -> None:
        """Forgets all others, on disk too."""
        self._known = {name: made for name, made in self._known.items() if name in names}
        lines = (json.dumps([name, *made]) for name, made in self._known.items())
        write_whole(self._file, "\n".join(lines).encode())

    def _keep(self, name: str, made: list[Any]) -> None:
        self._known[name] = made
        with self._file.open("a") as file:
            file.write("\n" + json.dumps([name, *made]))  # after whatever a kill left


def sheet_name(number: int) -> str:
    """The file of a contact sheet; they count from 1."""
    return "contact-sheet.html" if number == 1 else f"contact-sheet-{number}.html"


def withdraw(folder: Path) -> None:
    """Takes the contact sheets away, and all thumbnails: what is on them may not be clear now."""
    for page in folder.glob("contact-sheet*.html"):
        page.unlink()
    (folder / _THUMBNAILS).unlink(missing_ok=True)


def write_pages(
    rows: Sequence[Row], folder: Path, index: Index, thumbnails: Thumbnails, *, title: str
) -> None:
    """The outcomes of a batch in this folder as pages, each of them whole or not at all."""
    told = {
        "title": title,
        "counts": Counter(map(status, rows)).most_common(),
        "total": len(rows),
        "library": next((row["library"] for row in rows if row["library"]), None),
        "policy": next((row["policy"] for row in rows if row["policy"]), None),
        "evidence": EVIDENCE,
    }
    clear = [row for row in rows if row["file"] and status(row) == "clear"]
    others = [row for row in rows if status(row) != "clear"]
    thumbnails.keep_only({Path(row["file"]).name for row in clear})
    starts = range(0, max(len(clear), 1), PER_SHEET)
    sheets = [(number, sheet_name(number)) for number in range(1, len(starts) + 1)]
    for (number, name), start in zip(sheets, starts, strict=True):
        shown = [_contact(row, thumbnails) for row in clear[start : start + PER_SHEET]]
        facts = {"shown": shown, "number": number, "sheets": sheets, "others": len(others)}
        write_whole(folder / name, render("contact-sheet.html", **facts, **told))
    for page in folder.glob("contact-sheet-*.html"):
        if page.name not in {name for _, name in sheets}:
            page.unlink()
    shown = list(_evidence(others, index))
    write_whole(
        folder / EVIDENCE, render("evidence-page.html", shown=shown, sheet=sheet_name(1), **told)
    )


def _contact(row: Row, thumbnails: Thumbnails) -> dict[str, Any]:
    name = Path(row["file"]).name
    words = {"prompt": row["recipe"]["prompt"], "seed": row["seed"]}
    return {"name": name, "link": quote(name), "thumbnail": thumbnails.of(name), **words}


def _evidence(rows: Sequence[Row], index: Index) -> Iterator[dict[str, Any]]:
    """Each row without its own picture; the references of the first few hundred as pictures."""
    for row in map(withheld, rows[:MAX_ILLUSTRATED]):
        yield {**evidence(row, index), "illustrated": True}
    for row in map(withheld, rows[MAX_ILLUSTRATED:]):
        yield {**row, "status": status(row), "shown": row["matches"][:3], "illustrated": False}


def _small(image: Image.Image) -> tuple[str, int, int]:
    image = image.convert("RGB")
    image.thumbnail((SIDE, SIDE), reducing_gap=2.0)
    out = io.BytesIO()
    image.save(out, "WEBP", quality=70)
    return f"data:image/webp;base64,{base64.b64encode(out.getvalue()).decode()}", *image.size
