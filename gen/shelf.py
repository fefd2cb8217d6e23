"""Shelf: the folders in which a user keeps models, LoRAs, VAEs and embeddings; what lies there."""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gen.weights import PICKLES, SAFE, FileHash, HashStore, read_header, require_loadable
from provenance.errors import FirsthandError, MissingError
from provenance.files import given_path

KINDS = ("models", "loras", "vae", "embeddings")

_LICENCE = re.compile(r"^license(?:_name)?:\s*[\"']?([^\"'\n]+)", re.MULTILINE)


@dataclass(frozen=True)
class Item:
    """One thing on the shelf; `licence` is what its folder or header says, if it does."""

    kind: str
    name: str
    path: Path
    bytes: int
    sha256: str
    autov3: str | None
    licence: str | None
    problem: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {**self.__dict__, "path": str(self.path), "autov2": self.sha256[:10] or None}


class Shelf:
    """The folders `models`, `loras`, `vae`, `embeddings` of a home, and the hashes of files."""

    def __init__(self, home: Path | None = None, *, unsafe_pickle: bool = False) -> None:
        self.home, self.unsafe_pickle = home, unsafe_pickle
        self.hashes = HashStore(home / "hashes.json" if home else None)

    def find(self, kind: str, name: str) -> Path:
        """The file or folder of this path, or of this name on the shelf."""
        for path in self._places(kind, name):
            if path.is_file():
                return require_loadable(path, unsafe_pickle=self.unsafe_pickle)
            if path.is_dir():
                return path
        where = f", nor in {self.home / kind}" if self.home else ""
        raise MissingError(f"no such file: {name}{where}")

    def hash(self, path: Path) -> FileHash:
        """Of a file, or over all weight files of a folder."""
        if path.is_file():
            return self.hashes.of(path)
        weights = sorted(path.rglob(f"*{SAFE}"))
        return FileHash(self.hashes.of_folder(path, weights), None)

    def items(self) -> Iterator[Item]:
        for kind in KINDS:
            yield from (self.item(kind, path) for path in self.places(kind))

    def places(self, kind: str) -> Iterator[Path]:
        """The files and folders that lie there."""
        folder = self.home / kind if self.home else None
        for path in sorted(folder.iterdir()) if folder and folder.is_dir() else ():
            if path.is_dir() or path.suffix.lower() in (SAFE, *PICKLES):
                yield path

    def item(self, kind: str, path: Path, name: str = "") -> Item:
        name = name or (path.name if path.is_dir() else path.stem)
        size = 0
        try:
            files = sorted(path.rglob(f"*{SAFE}")) if path.is_dir() else [path]
            size = sum(file.stat().st_size for file in files)
            if path.is_file():
                require_loadable(path, unsafe_pickle=self.unsafe_pickle)
            elif not files:
                raise MissingError(f"no {SAFE} file in it")
            made, said = self.hash(path), licence(path)
        except FirsthandError as error:
            return Item(kind, name, path, size, "", None, None, str(error))
        except (OSError, RuntimeError) as error:  # a link that leads nowhere or to itself
            return Item(kind, name, path, size, "", None, None, f"cannot be read: {error}")
        return Item(kind, name, path, size, made.sha256, made.autov3, said)

    def _places(self, kind: str, name: str) -> Iterator[Path]:
        given = given_path(name)
        yield given
        if self.home:
            yield self.home / kind / name
            yield self.home / kind / f"{name}{SAFE}"


def licence(path: Path) -> str | None:
    """What a model card's front matter, a LICENSE file or a safetensors header says."""
    if path.is_file():
        if path.suffix.lower() != SAFE:
            return None
        said = read_header(path).get("__metadata__") or {}
        return str(said["modelspec.license"]) if "modelspec.license" in said else None
    with suppress(OSError, UnicodeDecodeError):
        front = (path / "README.md").read_text("utf-8").split("\n---")[0]
        if front.startswith("---") and (found := _LICENCE.search(front)):
            return found[1].strip()
    for file in sorted(path.glob("LICENSE*")):
        with suppress(OSError, UnicodeDecodeError, IndexError):
            return file.read_text("utf-8").strip().splitlines()[0].strip()[:80]
    return None
