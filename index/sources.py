"""Where references come from. A source lists items; each item can be read later."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from provenance.errors import UsageError

SUFFIXES = frozenset(
    f".{name}"
    for name in (
        "png jpg jpeg jfif mpo webp gif bmp tif tiff avif jp2 ico ppm pgm tga apng".split()  # noqa: SIM905
    )
)

_MAGIC = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*")


@dataclass(frozen=True)
class Item:
    """One picture to index: where its bytes are and what is known of it beforehand."""

    uri: str
    path: Path
    stamp: str
    title: str = ""
    license: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


class Source(Protocol):
    """A named collection of items."""

    @property
    def name(self) -> str: ...

    def items(self) -> Iterator[Item]: ...


class FolderSource:
    """All image files under a folder, by name; or one file.

    A `manifest.json` in the folder, a list of objects with `file` and any of `title`, `license`
    (or `licence`) and `uri`, says more about them.
    """

    def __init__(self, path: Path, name: str | None = None) -> None:
        if not path.exists():
            raise UsageError(f"no such file or folder: {path}")
        self._path = path.resolve()
        self.name = name or self._path.name

    def items(self) -> Iterator[Item]:
        if self._path.is_file():
            yield self._item(self._path, {})
            return
        known = _manifest(self._path / "manifest.json")
        for path in image_files(self._path):
            yield self._item(path, known.get(path.relative_to(self._path).as_posix(), {}))

    def _item(self, path: Path, facts: dict[str, Any]) -> Item:
        status = path.stat()
        meta = facts.get("meta") if isinstance(facts.get("meta"), dict) else {}
        title = facts.get("title") or (meta or {}).get("title") or path.name
        return Item(
            uri=str(facts.get("uri") or path.as_uri()),
            path=path,
            stamp=f"{status.st_size}-{status.st_mtime_ns}",
            title=str(title),
            license=str(facts.get("license") or facts.get("licence") or ""),
            facts=facts,
        )


def image_files(folder: Path) -> list[Path]:
    """The files under a folder whose name or first bytes say image, sorted.

    Links to folders are not followed.
    """
    return sorted(path for path in folder.rglob("*") if path.is_file() and _says_image(path))


def _says_image(path: Path) -> bool:
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError:
        return False
    return head.startswith(_MAGIC) or (head[:4] == b"RIFF" and head[8:] == b"WEBP")


def _manifest(path: Path) -> dict[str, dict[str, Any]]:
    if not path.is_file():
        return {}
    try:
        rows = json.loads(path.read_text("utf-8"))
        return {row["file"]: row for row in rows if isinstance(row, dict) and "file" in row}
    except (ValueError, TypeError, OSError) as error:
        raise UsageError(f"{path}: not a list of objects with `file`: {error}") from None
