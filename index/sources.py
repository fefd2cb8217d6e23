"""Where references come from. A source lists items; each item can be read later."""

import errno
import json
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from provenance.errors import UsageError
from provenance.scan import stamp_of

_NAMES = (
    "png apng jpg jpeg jpe jfif mpo webp gif bmp dib tif tiff avif avifs heic heif hif jxl "
    "jp2 j2k j2c jpx ico ppm pgm pbm pnm tga"
)
SUFFIXES = frozenset(f".{name}" for name in _NAMES.split())

# Also of formats that are not read: such a file is told as unreadable, not passed over.
_MAGIC = (
    b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*", b"II\0*", b"MM*\0", b"II+\0",
    b"MM\0+", b"\xff\x0a", b"\0\0\0\x0cJXL ", b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51",
)  # fmt: skip
_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"hevc", b"mif1", b"msf1")  # not those of films
_PNM = re.compile(rb"P[1-6f]\s+(?:#|\d+\s+\d)|P7\s+WIDTH", re.IGNORECASE)
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)  # their sizes in bytes


@dataclass(frozen=True)
class Item:
    """One picture to index: where its bytes are and what is known of it beforehand."""

    uri: str
    path: Path
    stamp: str
    title: str = ""
    license: str = ""


class Source(Protocol):
    """A named collection of items."""

    @property
    def name(self) -> str: ...

    def items(self) -> Iterator[Item]: ...


class FolderSource:
    """All image files under a folder, by name; or one file.

    A `manifest.json` in the folder, a list of objects with `file` and any of `title`, `license`
    (or `licence`) and `uri`, says more about them. A URI that several files have there, as that of
    a page with several pictures, gets each file's name after a `#`.
    """

    def __init__(self, path: Path, name: str | None = None) -> None:
        if not path.exists():
            raise UsageError(f"no such file or folder: {path}")
        self._path = path.resolve()
        self.name = _utf8(name or self._path.name)

    def items(self) -> Iterator[Item]:
        if self._path.is_file():
            yield self._item(self._path, {})
            return
        known = _manifest(self._path / "manifest.json")
        shared = Counter(str(facts["uri"]) for facts in known.values() if facts.get("uri"))
        for path in image_files(self._path):
            name = path.relative_to(self._path).as_posix()
            facts = known.get(name, {})
            if shared[str(facts.get("uri"))] > 1:
                facts = {**facts, "uri": f"{facts['uri']}#{quote(os.fsencode(name))}"}
            yield self._item(path, facts)

    def _item(self, path: Path, facts: dict[str, Any]) -> Item:
        meta = facts.get("meta") if isinstance(facts.get("meta"), dict) else {}
        title = facts.get("title") or (meta or {}).get("title") or path.name
        return Item(
            uri=_utf8(facts.get("uri") or path.as_uri()),
            path=path,
            stamp=stamp_of(path),
            title=_utf8(title),
            license=_utf8(facts.get("license") or facts.get("licence") or ""),
        )


def image_files(folder: Path) -> list[Path]:
    """The files under a folder whose name or first bytes say image, sorted.

    Links to folders are not followed. What cannot be looked into, a folder or a file, is among
    them: there may be pictures in it.
    """
    closed: list[Path] = []
    found = [
        Path(parent, name)
        for parent, _, names in os.walk(folder, onerror=lambda error: closed.append(_named(error)))
        for name in names
    ]
    return sorted([*closed, *(path for path in found if _is_file(path) and _says_image(path))])


def _named(error: OSError) -> Path:
    return Path(os.fsdecode(error.filename))


def _is_file(path: Path) -> bool:
    """Also what may be one: a link that leads nowhere, or in a circle, by the name of a picture."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, RuntimeError):
        return path.suffix.lower() in SUFFIXES
    except OSError as error:
        return error.errno != errno.ELOOP or path.suffix.lower() in SUFFIXES


def _says_image(path: Path) -> bool:
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            return _begins_as_image(file.read(18))
    except OSError:
        return True


def _begins_as_image(head: bytes) -> bool:
    """By a file's first 18 bytes, whatever its name; TGA does not say what it is."""
    return (
        head.startswith(_MAGIC)
        or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
        or (head[4:8] == b"ftyp" and head[8:12] in _BRANDS)
        or (head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS)
        or (head[:4] == b"\0\0\1\0" and head[4:6] != b"\0\0" and head[9:10] == b"\0")  # ICO
        or (int.from_bytes(head[:4], "little") in _BMP_HEADERS and head[12:14] == b"\1\0")  # DIB
        or _PNM.match(head) is not None
    )


def _utf8(value: Any) -> str:
    """Text that a database can hold: file names need not be UTF-8."""
    return str(value).encode("utf-8", "replace").decode()


def _manifest(path: Path) -> dict[str, dict[str, Any]]:
    if not path.is_file():
        return {}
    try:
        rows = json.loads(path.read_text("utf-8"))
        return {row["file"]: row for row in rows if isinstance(row, dict) and "file" in row}
    except (ValueError, TypeError, OSError) as error:
        raise UsageError(f"{path}: not a list of objects with `file`: {error}") from None
