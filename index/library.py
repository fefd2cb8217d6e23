"""Library: the catalog and one vector store for each descriptor; implements provenance.match.Index.

On disk: `catalog.sqlite` (the truth) and `stores/NAME-N.faiss` (caches, rebuilt when in doubt).
"""

import json
import random
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from index.catalog import Catalog, NewReference, Told
from index.descriptors import Lacking, require_comparable
from index.stores import Found, Stores
from provenance.chance import Calibration
from provenance.errors import CheckError, UsageError
from provenance.files import lock
from provenance.fingerprint import DescriptorSpec, Fingerprint, Value, Vector, similarities
from provenance.fusion import SPEC as FUSION
from provenance.local.features import kept
from provenance.match import Candidate, Reference
from provenance.recipe import Recipe

_SAME_PICTURE_LIMIT = 5  # references reported of one picture that many references show
_RECIPES = 60  # references whose recipe is compared with one that is looked up


@dataclass(frozen=True)
class _Asked:
    """A picture that is asked about, and the pictures that were found for it."""

    fingerprint: Fingerprint
    exact: int | None
    found: Found

    @property
    def pictures(self) -> set[int]:
        exact = set() if self.exact is None else {self.exact}
        return exact | self.found.near | self.found.promising

    def candidates(
        self,
        shown: Mapping[int, Sequence[Reference]],
        held: Mapping[str, Mapping[int, Value]],
    ) -> list[Candidate]:
        close: dict[int, dict[str, float]] = {picture: {} for picture in sorted(self.pictures)}
        for name, values in sorted(held.items()):
            there = [picture for picture in close if picture in values]
            if there and name in self.fingerprint.values:
                asked = self.fingerprint.values[name]
                points = similarities(asked, [values[picture] for picture in there])
                for picture, similarity in zip(there, points, strict=True):
                    close[picture][name] = similarity
        promising = self.found.promising
        return [
            Candidate(reference, similar, picture == self.exact, picture in promising)
            for picture, similar in close.items()
            for reference in shown.get(picture, ())
        ]


class Library:
    """A library folder. `open` reads it, `create` makes it where there is none.

    One process adds or removes at a time (a file lock); any number may search meanwhile.
    """

    def __init__(self, folder: Path, catalog: Catalog) -> None:
        _require_utf8(folder)
        self.folder = folder
        self._catalog = catalog
        self._lock = threading.RLock()
        self._stores = Stores(folder / "stores", catalog)

    @classmethod
    def open(cls, folder: Path) -> "Library":
        """Raises MissingError where there is no library, CheckError where it is damaged."""
        return cls(folder, Catalog(folder / "catalog.sqlite"))

    @classmethod
    def create(cls, folder: Path, specs: Sequence[DescriptorSpec]) -> "Library":
        """Opens the library, or makes an empty one that holds these descriptors."""
        try:
            (folder / "stores").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot make a library at {folder}: {error.strerror}") from None
        library = cls(folder, Catalog(folder / "catalog.sqlite", create=True))
        if set(library.specs) != set(specs):
            with library.writing() if not len(library) else nullcontext():
                library._catalog.declare(specs)
        return library

    def close(self) -> None:
        self._catalog.close()

    def __enter__(self) -> "Library":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def version(self) -> str:
        with self._lock:
            return self._catalog.version

    @property
    def specs(self) -> tuple[DescriptorSpec, ...]:
        with self._lock:
            return self._catalog.specs()

    def __len__(self) -> int:
        with self._lock:
            return self._catalog.reference_count()

    def describe(self) -> dict[str, object]:
        """What `index info` shows."""
        with self._lock:
            return {
                "folder": str(self.folder),
                "version": self.version,
                **self._catalog.counts(),
                "sources": self._catalog.sources(),
                "descriptors": [str(spec) for spec in self.specs],
                "calibrated": _calibrated(self.calibration, len(self)),
                **self._adding(),
                "bytes": sum(map(_size, self.folder.rglob("*"))),
            }

    def _adding(self) -> dict[str, object]:
        if not (specs := self._catalog.specs(complete=False)):
            return {}
        left = len(self._catalog.lacking())
        return {"being added": [f"{', '.join(map(str, specs))}: {left:,} pictures left"]}

    def search(self, fingerprint: Fingerprint, limit: int) -> list[Candidate]:
        return self.search_each([fingerprint], limit)[0]

    def search_each(self, fingerprints: Sequence[Fingerprint], limit: int) -> list[list[Candidate]]:
        """The `limit` nearest pictures of each descriptor, with every descriptor's similarity.

        A picture that many references show counts once; up to five of them are named.
        """
        with self._lock:
            found = self._stores.search(fingerprints, limit)
            exact = self._catalog.pictures_of([asked.content for asked in fingerprints])
            asked = [
                _Asked(each, exact.get(each.content), its)
                for each, its in zip(fingerprints, found, strict=True)
            ]
            return self._candidates(asked)

    @property
    def calibration(self) -> Calibration | None:
        """How close unrelated references come, by the descriptors held; None before one is kept."""
        with self._lock:
            held, specs = self._catalog.calibration(), self._catalog.specs()
        if held is None:
            return None
        try:
            found = Calibration.from_json(json.loads(held))
        except (TypeError, KeyError, ValueError):  # of an earlier version
            return None
        tails = {name: tail for name, tail in found.tails.items() if tail.spec in (*specs, FUSION)}
        return replace(found, tails=tails)

    def keep_calibration(self, calibration: Calibration) -> None:
        with self.writing(), self._lock:
            self._catalog.keep_calibration(json.dumps(calibration.to_json()))

    def sample(self, count: int, seed: int) -> Iterator[tuple[Reference, Fingerprint]]:
        """At most `count` of the library's pictures, drawn at random, as the library keeps them."""
        with self._lock:
            pictures = self._catalog.pictures()
        for picture in random.Random(seed).sample(pictures, min(count, len(pictures))):
            with self._lock:
                fingerprint = self._catalog.fingerprint(picture)
                shown = self._catalog.shown_by([picture], 1)
            if fingerprint and shown:
                yield shown[picture][0], fingerprint

    def compare(self, fingerprint: Fingerprint, content: str) -> list[Candidate]:
        """The references that show the picture of this content, near or not, as candidates."""
        with self._lock:
            picture = self._catalog.picture_of(content)
            return self._candidates([_Asked(fingerprint, None, Found({picture or 0}))])[0]

    def features(self, reference: Reference) -> tuple[Vector, tuple[int, int]] | None:
        return self.features_each([reference]).get(reference.id)

    def features_each(
        self, references: Sequence[Reference]
    ) -> dict[int, tuple[Vector, tuple[int, int]]]:
        with self._lock:
            return self._catalog.features([reference.id for reference in references])

    def find_recipe(self, recipe: Recipe) -> list[Reference]:
        with self._lock:
            self._catalog.require_present()
            return self._catalog.by_recipe(recipe, _RECIPES)

    def thumbnail(self, reference: Reference) -> bytes | None:
        with self._lock:
            return self._catalog.thumbnail(reference.id)

    def reference(self, uri: str) -> Reference | None:
        with self._lock:
            return self._catalog.reference(uri)

    def told(self, uris: Sequence[str]) -> dict[str, Told]:
        """What sources told of those of the URIs that are references."""
        with self._lock:
            return self._catalog.told(uris)

    def tell(self, told: Mapping[str, Told]) -> None:
        """Changes title and license of references: all of them or none."""
        with self._lock:
            self._catalog.require_present()
            self._catalog.tell(told)

    def add(self, batch: Sequence[NewReference]) -> None:
        """Adds or replaces references: all of the batch or none of it."""
        with self._lock:
            self._catalog.require_present()
            self._catalog.add([replace(new, fingerprint=_kept(new.fingerprint)) for new in batch])

    def begin(self, specs: Sequence[DescriptorSpec]) -> list[Lacking]:
        """Starts adding descriptors, or goes on: searches know nothing of them until `finish`."""
        with self._lock:
            require_comparable(self._catalog.specs(), specs)
            self._catalog.begin(specs)
            return self._catalog.lacking()

    def add_values(self, batch: Sequence[tuple[int, Fingerprint]]) -> None:
        """Values, by picture, of what is being added: all of the batch or none of it."""
        with self._lock:
            self._catalog.require_present()
            self._catalog.add_values([(picture, _kept(print_).values) for picture, print_ in batch])

    def finish(self) -> None:
        """Lets searches use what was added; raises CheckError while a picture lacks a value."""
        with self._lock:
            self._catalog.finish()

    def drop(self, name: str) -> None:
        """Forgets a descriptor and its values, complete or not."""
        with self.writing(), self._lock:
            held = (*self._catalog.specs(), *self._catalog.specs(complete=False))
            if name not in {spec.name for spec in held}:
                names = ", ".join(spec.name for spec in held)
                raise UsageError(f"the library holds no descriptor {name}; it has {names}")
            self._catalog.drop(name)

    def thumbnails(self, pictures: Sequence[int]) -> dict[int, bytes]:
        """The thumbnails, by picture id, that are kept of these pictures."""
        with self._lock:
            return self._catalog.thumbnails(pictures)

    def keep(self, fingerprint: Fingerprint) -> None:
        """Adds a picture of which nothing but its pixels is known, once; its URI is its content."""
        new = NewReference(fingerprint.content, "", "", "", "", None, fingerprint, None)
        if self.reference(new.uri) is None:
            self.add([new])

    def remove(self, *, uri: str | None = None, source: str | None = None) -> int:
        """Removes one reference, or all of one source; says how many."""
        where, value = ("uri", uri) if uri is not None else ("source", source)
        if value is None:
            raise UsageError("say which reference (uri) or which source to remove")
        with self.writing(), self._lock:
            return self._catalog.remove(where, value)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Holds the library's one writer's place; raises UsageError when another has it."""
        try:
            file = (self.folder / "writer.lock").open("w")
        except OSError as error:
            raise UsageError(f"{self.folder} cannot be changed: {error.strerror}") from None
        with file:
            lock(file, f"another process is changing {self.folder}; try later")
            yield

    def build(self) -> None:
        """Writes the stores to disk, so that the next opening need not read every row."""
        with self.writing(), self._lock:
            self._stores.write()

    def verify(self) -> list[str]:
        """What is wrong with the library, in words; nothing when all is well."""
        with self._lock:
            found = self._catalog.problems()
            last = self._catalog.last_picture()
            for spec in self.specs:
                found += self._value_problems(spec, last)
                found += self._stores.problems(spec)
            return found

    def _value_problems(self, spec: DescriptorSpec, last: int) -> Iterator[str]:
        held = 0
        try:
            for ids, rows in self._catalog.vectors(spec, 0, last):
                held += len(ids)
                if spec.metric == "cosine":
                    off = np.abs(np.linalg.norm(rows, axis=1) - 1).max()
                    if not off < 1e-3:
                        yield f"{spec.name}: rows that are not of unit length"
        except CheckError as error:
            yield str(error)
            return
        if held != self._catalog.counts()["pictures"]:
            yield f"{spec.name}: {held} values, one for each picture expected"

    def _candidates(self, asked: Sequence[_Asked]) -> list[list[Candidate]]:
        pictures = sorted(set[int]().union(*(each.pictures for each in asked)))
        names = sorted(set[str]().union(*(each.fingerprint.values for each in asked)))
        for _ in range(2):  # twice, because another process may change the library meanwhile
            shown = self._catalog.shown_by(pictures, _SAME_PICTURE_LIMIT)
            held = self._catalog.values(pictures, names)
            if not (damaged := self._damaged(pictures, names, shown, held)):
                return [each.candidates(shown, held) for each in asked]
        raise CheckError(
            f"{self.folder} is damaged: {damaged}; put back a copy of it, or index anew"
        )

    def _damaged(
        self,
        pictures: Sequence[int],
        names: Sequence[str],
        shown: Mapping[int, Sequence[Reference]],
        held: Mapping[str, Mapping[int, Value]],
    ) -> str:
        """What the catalog lacks of these pictures, in words; a match would go unseen for it."""
        needed = {"reference": shown} | {
            f"value of {spec.name}": held.get(spec.name, {})
            for spec in self.specs
            if spec.name in names and spec.metric != "features"
        }
        lacking = {what: set(pictures) - there.keys() for what, there in needed.items()}
        there = set(self._catalog.there(sorted(set[int]().union(*lacking.values()))))
        return ", ".join(
            f"{len(without & there)} pictures without a {what}"
            for what, without in lacking.items()
            if without & there
        )


def _size(path: Path) -> int:
    """In bytes; a file may go while it is looked at."""
    with suppress(FileNotFoundError):
        return path.stat().st_size if path.is_file() else 0
    return 0


def _require_utf8(folder: Path) -> None:
    """FAISS opens no file by another name."""
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        raise UsageError(f"a library's folder needs a name in UTF-8, got {str(folder)!r}") from None


def _calibrated(calibration: Calibration | None, references: int) -> str:
    if calibration is None:
        return "no: firsthand index calibrate"
    stale = calibration.stale(references)
    return (
        f"at {calibration.references:,} references (version {calibration.version}), by "
        f"{calibration.pictures:,} pictures" + (", stale: firsthand index calibrate" * stale)
    )


def _kept(fingerprint: Fingerprint) -> Fingerprint:
    """What a library keeps: the picture as it is, without turns and parts; fewer features."""
    values = {
        name: Value(
            value.spec,
            kept(value.vector)
            if value.spec.metric == "features"
            else np.atleast_2d(value.vector)[0],
        )
        for name, value in fingerprint.values.items()
    }
    return replace(fingerprint, values=values)
