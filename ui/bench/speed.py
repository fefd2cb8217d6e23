"""How long the check takes, as ratios within one run."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from gen.models import STARTER, resolve
from gen.pipeline import load
from index.ingest import ingest
from index.sources import FolderSource, image_files
from provenance.embed.bundled import BundledDescriptor
from provenance.fingerprint import Descriptor, Fingerprinter
from provenance.hashes import hash_descriptors
from provenance.images import read_picture
from provenance.local import LocalDescriptor
from provenance.recipe import Recipe
from ui.demo import GALLERY
from ui.settings import load_settings
from ui.wiring import factory, make_checker, make_library


def measure() -> None:
    """How the check compares with painting, and each descriptor with decoding the file."""
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
        describe = Fingerprinter((descriptor,)).describe
        images = [picture.image for picture in pictures]
        describe(images[:1])
        cost = _mean(lambda run=describe, rows=images: run(rows), len(files))  # type: ignore[misc]
        print(f"PDQ and {descriptor.spec.name}: {cost / decode:.1f} x decoding the file")
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


def _mean(work: Callable[[], object], count: int) -> float:
    """Seconds for each of `count` things, the best of three runs after one to warm up."""
    best = float("inf")
    for run in range(4):
        started = time.perf_counter()
        work()
        if run:
            best = min(best, time.perf_counter() - started)
    return best / count
