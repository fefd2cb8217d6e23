"""The vector stores of a library: caches of its catalog on disk, rebuilt when in doubt.

Picture ids in and out; knows nothing of references.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from index.catalog import Catalog, Generation
from index.vectors import FaissStore, file_sha256
from index.voting import VotingStore
from provenance.errors import CheckError
from provenance.fingerprint import DescriptorSpec, Fingerprint
from provenance.hashes import PDQ
from provenance.threads import side_by_side

_VOTED = 6  # pictures that the vote of local features puts forward
_LIKE = 2  # pictures that a learned descriptor puts forward

Store = FaissStore | VotingStore


@dataclass
class Found:
    """The pictures that were found for one that is asked about.

    Promising is what shares local features, is nearest to the negative, or nearest by a learned
    descriptor.
    """

    near: set[int] = field(default_factory=set)
    promising: set[int] = field(default_factory=set)


class Stores:
    """One store for each descriptor of the catalog, in `folder` as `NAME-N.faiss`."""

    def __init__(self, folder: Path, catalog: Catalog) -> None:
        self._folder = folder
        self._catalog = catalog
        self._specs: tuple[DescriptorSpec, ...] = ()
        self._stores: dict[str, Store] = {}
        self._files: list[Path] = []
        self._upto = -1
        self._removals = -1
        self._seen = ""

    def search(self, fingerprints: Sequence[Fingerprint], limit: int) -> list[Found]:
        """The `limit` nearest pictures by each descriptor, all stores side by side."""
        self._refresh()
        asked = [(fingerprint, Found()) for fingerprint in fingerprints]
        searches = []
        for name, store in sorted(self._stores.items(), key=_takes_long, reverse=True):
            by_it = [each for each in asked if name in each[0].values]
            if by_it:
                searches.append(partial(_search, name, store, by_it, limit))
        side_by_side(searches)
        return [found for _, found in asked]

    def write(self) -> None:
        """Writes the stores to disk, so that the next opening need not read every row."""
        self._refresh()
        self._folder.mkdir(exist_ok=True)
        for name, store in self._stores.items():
            for generation in self._catalog.generations(name):
                if self._file_problems(generation):
                    self._catalog.forget_generation(generation.file)
            self._write(name, store)
        listed = self._listed()
        for file in self._folder.glob("*"):
            if file.name not in listed and not file.is_dir():
                file.unlink()

    def problems(self, spec: DescriptorSpec) -> Iterator[str]:
        """What is wrong with a descriptor's files, in words."""
        last = self._catalog.last_picture()
        for generation in self._catalog.generations(spec.name):
            if generation.upto_picture > last + 1 and not generation.removals:
                yield f"{generation.file}: built from rows that are gone"
            yield from self._file_problems(generation)

    def _listed(self) -> set[str]:
        """The store files that the catalog lists."""
        names = [spec.name for spec in self._catalog.specs()]
        return {g.file for name in names for g in self._catalog.generations(name)}

    def _file_problems(self, generation: Generation) -> list[str]:
        path = self._folder / generation.file
        if not path.is_file():
            return [f"{generation.file}: missing (a cache: rebuilt by the next `index add`)"]
        if file_sha256(path) != generation.sha256:
            return [f"{generation.file}: damaged (a cache: not used, rebuilt by `index add`)"]
        return []

    def _refresh(self) -> None:
        """Brings the stores up to the catalog's last committed change."""
        self._catalog.require_present()
        for file in self._files:
            if not file.is_file() and file.name in self._listed():
                raise CheckError(f"{file} was removed while the library was in use")
        if (version := self._catalog.version) == self._seen:
            return
        try:
            self._follow()
        except BaseException:  # what is half read would find too little from now on
            self._stores, self._removals, self._seen = {}, -1, ""
            raise
        self._seen = version

    def _follow(self) -> None:
        if (self._specs, self._removals) != (self._catalog.specs(), self._catalog.removals):
            self._load()
        last = self._catalog.last_picture()
        if last > self._upto:
            for spec in self._specs:
                for ids, rows in self._catalog.vectors(spec, self._upto, last):
                    self._stores[spec.name].add(ids, rows)
            self._upto = last

    def _load(self) -> None:
        """The stores from their newest good files; what these lack comes from the catalog."""
        self._specs, self._removals = self._catalog.specs(), self._catalog.removals
        self._catalog.require_values()
        self._stores, self._files = {}, []
        read = [(spec, *self._from_file(spec)) for spec in self._specs]
        self._upto = self._catalog.last_picture()  # now that no file can have more
        for spec, store, upto in read:
            for ids, rows in self._catalog.vectors(spec, upto, self._upto):
                store.add(ids, rows)
            self._stores[spec.name] = store

    def _from_file(self, spec: DescriptorSpec) -> tuple[Store, int]:
        """The newest good file's store and its last picture, or an empty one."""
        for generation in self._catalog.generations(spec.name):
            path = self._folder / generation.file
            if path.is_file() and file_sha256(path) == generation.sha256:
                self._files.append(path)
                store = _kind(spec).read(spec, path)
                if generation.removals != self._removals:
                    store.keep_only(np.array(self._catalog.pictures(), np.int64))
                return store, generation.upto_picture
        return _kind(spec)(spec), 0

    def _write(self, name: str, store: Store) -> None:
        known = self._catalog.generations(name)
        current = known[0] if known else None
        same = current and (current.upto_picture, current.removals) == (self._upto, self._removals)
        if current and same:
            return
        number = 1 + max((int(g.file.split("-")[-1].split(".")[0]) for g in known), default=0)
        path = self._folder / f"{name}-{number}.faiss"
        digest = store.write(path)
        _sync_folder(path.parent)
        new = Generation(name, path.name, digest, self._upto, self._removals)
        for old in self._catalog.record_generation(new):
            (self._folder / old).unlink(missing_ok=True)


def _takes_long(named: tuple[str, Store]) -> bool:
    return isinstance(named[1], VotingStore)


def _search(
    name: str, store: Store, asked: Sequence[tuple[Fingerprint, Found]], limit: int
) -> None:
    """Adds what one store finds."""
    rows = [fingerprint.values[name].vector for fingerprint, _ in asked]
    if isinstance(store, VotingStore):
        for (_, found), voted in zip(asked, store.nearest_each(rows, _VOTED), strict=True):
            found.promising.update(voted)
        return
    for (fingerprint, found), nearest in zip(asked, store.nearest_each(rows, limit), strict=True):
        found.near.update(nearest)
        if fingerprint.values[name].spec.metric == "cosine":
            found.promising.update(nearest[:_LIKE])
    if name == PDQ:
        negatives = store.nearest_each([~row for row in rows], 1)
        for (_, found), nearest in zip(asked, negatives, strict=True):
            found.promising.update(nearest)


def _kind(spec: DescriptorSpec) -> type[Store]:
    return VotingStore if spec.metric == "features" else FaissStore


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
