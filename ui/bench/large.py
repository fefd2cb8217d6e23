"""How long one check takes in a large library, on all cores, and where the time goes.

The library is made of real pictures and of many more that are made from their values: the same
kinds of rows, as many of them, near nothing.
"""

import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from index.catalog import NewReference
from index.ingest import ingest
from index.library import Library
from index.sources import FolderSource, image_files
from provenance.check import Checker
from provenance.fingerprint import Fingerprint, Value
from provenance.images import Picture, read_picture
from provenance.local.features import HEAD, KEPT, rows_of
from provenance.local.features import SPEC as LOCAL
from ui.bench.edits import ALL_EDITS
from ui.settings import load_settings
from ui.wiring import factory, make_checker, make_library

_BATCH = 500
_REAL = 2000  # pictures at most
_ASKED = 60  # pictures a figure
_SIDE = 512  # pixels of a picture that is checked
_EDIT = "pasted at 60 %"


def measure(images: Path, references: int) -> None:
    """Prints medians in milliseconds: only their ratios mean anything on another machine."""
    files = image_files(images)
    known, strangers = files[::2], files[1::2][:_ASKED]
    with tempfile.TemporaryDirectory() as place:
        settings = load_settings(home=Path(place))
        with make_library(settings) as library:
            folder = Path(place) / "known"
            folder.mkdir()
            for number, path in enumerate(known[:_REAL]):
                (folder / f"{number:05}{path.suffix}").symlink_to(path.resolve())
            ingest(FolderSource(folder), library, factory(), workers=settings.workers)
            _fill(library, references)
            checker = make_checker(settings, library)
            print(f"{len(library):,} references, {library.describe()['bytes']:,} bytes on disk")
            pictures = [_read(path) for path in strangers]
            _print("nothing near", checker, pictures)
            _print("an edited copy", checker, [_edited(path) for path in known[:_ASKED]])


def _read(path: Path) -> Picture:
    picture = read_picture(path)
    scale = _SIDE / max(picture.image.size)
    size = (round(picture.image.width * scale), round(picture.image.height * scale))
    return replace(picture, image=picture.image.resize(size))


def _edited(path: Path) -> Picture:
    picture = _read(path)
    return replace(
        picture, image=ALL_EDITS[_EDIT](picture.image, random.Random(0), [picture.image])
    )


def _fill(library: Library, references: int) -> None:
    """Adds pictures whose rows are like those of real ones, and whose features are mixed of all."""
    real = [fingerprint for _, fingerprint in library.sample(_REAL, 0)]
    pool = np.concatenate([_rows(fingerprint) for fingerprint in real])
    rng = np.random.default_rng(0)
    with library.writing():
        for start in range(len(library), references, _BATCH):
            numbers = range(start, min(start + _BATCH, references))
            library.add([_reference(number, _mixed(real, pool, number, rng)) for number in numbers])
    library.build()


def _reference(number: int, fingerprint: Fingerprint) -> NewReference:
    return NewReference(f"made:{number}", "made", "", "", "", None, fingerprint, None)


def _mixed(
    real: Sequence[Fingerprint], pool: NDArray[np.uint8], number: int, rng: np.random.Generator
) -> Fingerprint:
    like = real[int(rng.integers(len(real)))]
    values = {}
    for name, value in like.values.items():
        if value.spec.metric == "hamming":
            row = rng.integers(0, 256, value.vector.shape, np.uint8)
        elif value.spec.metric == "cosine":
            row = value.vector + rng.normal(0, 0.06, value.vector.shape).astype(np.float32)
            row = (row / np.linalg.norm(row)).astype(np.float32)
        else:
            rows = pool[rng.integers(len(pool), size=KEPT)]
            rows = np.clip(rows + rng.integers(-8, 9, rows.shape), 0, 255).astype(np.uint8)
            row = np.concatenate([value.vector[:HEAD], rows.ravel()])
        values[name] = Value(value.spec, row)
    return replace(like, content=f"made {number}", values=values)


def _rows(fingerprint: Fingerprint) -> NDArray[np.uint8]:
    """(N, bytes of a feature)."""
    rows: NDArray[np.uint8] = rows_of(fingerprint.values[LOCAL.name].vector)
    return rows


def _print(title: str, checker: Checker, pictures: Sequence[Picture]) -> None:
    prints = {id(p): checker.fingerprinter.describe([p.image])[0] for p in pictures}
    found = {key: checker.index.search(asked, 5)[:5] for key, asked in prints.items()}
    parts: dict[str, Callable[[Picture], object]] = {
        "fingerprint": lambda p: checker.fingerprinter.describe([p.image])[0],
        "search": lambda p: checker.index.search(prints[id(p)], 20),
        "five second looks": lambda p: checker.look(prints[id(p)], found[id(p)]),
        "check": checker.check,
    }
    checker.check(pictures[0])
    print(f"{title}: " + ", ".join(f"{n} {m:.0f} ms" for n, m in _medians(parts, pictures)))


def _medians(
    parts: dict[str, Callable[[Picture], object]], pictures: Sequence[Picture]
) -> Iterator[tuple[str, float]]:
    for name, work in parts.items():
        times = []
        for picture in pictures:
            started = time.perf_counter()
            work(picture)
            times.append(time.perf_counter() - started)
        yield name, 1000 * float(np.median(times))
