"""How long the check takes, as ratios within one run."""

import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import islice
from math import ceil
from pathlib import Path
from statistics import median

from PIL import Image

from gen.models import STARTER, resolve
from gen.pipeline import load
from index.ingest import ingest
from index.library import Library
from index.sources import FolderSource, image_files
from provenance.audit import audit
from provenance.check import Checker
from provenance.embed.bundled import BundledDescriptor
from provenance.fingerprint import Descriptor, reduced
from provenance.hashes import hash_descriptors
from provenance.images import read_picture
from provenance.local.features import LocalDescriptor
from provenance.recipe import Recipe
from ui.bench import labelling
from ui.demo import GALLERY
from ui.settings import load_settings
from ui.wiring import factory, make_checker, make_library


def measure(folder: Path = GALLERY) -> None:
    """The fast tier beside a bare loop; the check beside painting, descriptors beside decoding."""
    fast_tier(folder)
    files = image_files(GALLERY)
    print(f"{len(files)} pictures of the demo gallery, each figure a mean over them")
    decode = _mean(lambda: [read_picture(file) for file in files], len(files))
    pictures = [read_picture(file) for file in files]
    descriptors: tuple[Descriptor, ...] = (
        *hash_descriptors(),
        BundledDescriptor(),
        LocalDescriptor(),
    )
    for descriptor in descriptors:
        images = [reduced(picture.image) for picture in pictures]
        describe = descriptor.describe
        cost = _mean(lambda run=describe, rows=images: run(rows), len(files))  # type: ignore[misc]
        print(f"{descriptor.spec.name}: {cost / decode:.1f} x decoding the file")
    painter = load(resolve(STARTER))
    recipe = painter.complete(Recipe("a fox in the snow", seed=1))
    paint = _mean(lambda: painter.paint(recipe, lambda done, steps: None), 1)
    with tempfile.TemporaryDirectory() as place:
        settings = load_settings(home=Path(place))
        with make_library(settings) as library:
            ingest(FolderSource(GALLERY), library, factory(settings))
            checker = make_checker(settings, library)
            check = _mean(lambda: [checker.check(picture) for picture in pictures], len(files))
    print(f"checking a picture takes {check / paint:.1%} of painting it ({recipe.steps} steps)")
    labelling.measure()


_ROUNDS = 5
_PICTURES = 6000  # audited in a run, each file several times
_START = 512  # findings that are not timed: processes start


def fast_tier(folder: Path) -> None:
    """Pictures/s of `audit --fast --no-groups`, all of them references, beside imagehash alone."""
    bare: list[float] = []
    rates: dict[int, list[float]] = {1: [], 2: []}
    files = image_files(folder)
    many = [file for _ in range(ceil(_PICTURES / len(files))) for file in files]
    with tempfile.TemporaryDirectory() as place:
        settings = load_settings(home=Path(place))
        prints = factory(fast=True)
        with Library.create(settings.library, prints().specs) as library:
            ingest(FolderSource(folder), library, prints, thumbnails=False)
            checker = make_checker(settings, library, fast=True)
            for _ in range(_ROUNDS):
                bare.append(_bare(many[: _PICTURES // 3]))
                for workers, found in rates.items():
                    found.append(_audited(many, checker, workers))
    print(f"{len(files)} pictures audited again and again, pictures/s, medians of {_ROUNDS} runs")
    print(f"a bare loop of imagehash.phash(Image.open(file), 16): {median(bare):.0f}")
    for workers, found in rates.items():
        ratio = median(found) / median(bare)
        print(f"audit --fast, --workers {workers}: {median(found):.0f}, {ratio:.2f} x that")


def _bare(files: Sequence[Path]) -> float:
    import imagehash

    started = time.perf_counter()
    for file in files:
        imagehash.phash(Image.open(file), 16)
    return len(files) / (time.perf_counter() - started)


def _audited(files: Sequence[Path], checker: Checker, workers: int) -> float:
    findings = audit(files, checker, factory(fast=True), workers=workers)
    for _ in islice(findings, _START):
        pass
    started = time.perf_counter()
    timed = sum(1 for _ in findings)
    return timed / (time.perf_counter() - started)


def _mean(work: Callable[[], object], count: int) -> float:
    """Seconds for each of `count` things, the best of three runs after one to warm up."""
    best = float("inf")
    for run in range(4):
        started = time.perf_counter()
        work()
        if run:
            best = min(best, time.perf_counter() - started)
    return best / count
