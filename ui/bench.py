"""Measures the product: `speed` (what `make bench` runs) and `detection`.

    python -m ui.bench speed
    python -m ui.bench detection --known ../shared/data/known --unrelated ../shared/data/train

Speed is told as ratios within one run: an absolute time says more of the machine than of the code.
"""

import argparse
import io
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter, ImageOps

from gen.models import STARTER, resolve
from gen.pipeline import load
from index.ingest import ingest
from index.sources import FolderSource, image_files
from provenance.audit import audit
from provenance.check import Checker
from provenance.embed.bundled import BundledDescriptor
from provenance.fingerprint import Descriptor, Fingerprinter
from provenance.hashes import hash_descriptors
from provenance.images import read_picture
from provenance.recipe import Recipe
from ui.demo import GALLERY
from ui.settings import Settings, load_settings
from ui.wiring import factory, make_checker, make_library

Edit = Callable[[Image.Image], Image.Image]


def _jpeg(quality: int) -> Edit:
    def edit(image: Image.Image) -> Image.Image:
        out = io.BytesIO()
        image.save(out, "JPEG", quality=quality)
        return Image.open(out).convert("RGB")

    return edit


def _scaled(share: float) -> Edit:
    return lambda image: image.resize([max(1, round(side * share)) for side in image.size])


def _cropped(share: float) -> Edit:
    """The middle, with this share of each side."""

    def edit(image: Image.Image) -> Image.Image:
        across, down = (round(side * (1 - share) / 2) for side in image.size)
        return image.crop((across, down, image.width - across, image.height - down))

    return edit


def _captioned(image: Image.Image) -> Image.Image:
    image = image.copy()
    size = max(10, image.height // 8)
    ImageDraw.Draw(image).text(
        (image.width // 12, image.height // 2), "FIRST HAND", "white", font_size=size,
        stroke_width=2, stroke_fill="black",
    )  # fmt: skip
    return image


def _pasted(image: Image.Image) -> Image.Image:
    """On a grey ramp, at 60 % of its sides."""
    ramp = Image.linear_gradient("L").resize(image.size).convert("RGB")
    ramp.paste(_scaled(0.6)(image), (image.width // 5, image.height // 5))
    return ramp


_RANKED = ("pdq-256", "firsthand-256")

EDITS: dict[str, Edit] = {
    "none": lambda image: image,
    "JPEG 40 at half size": lambda image: _jpeg(40)(_scaled(0.5)(image)),
    "JPEG 15": _jpeg(15),
    "quarter size": _scaled(0.25),
    "grey": lambda image: ImageOps.grayscale(image).convert("RGB"),
    "darker by 40 %": lambda image: image.point(lambda value: int(value * 0.6)),
    "blur, radius 3": lambda image: image.filter(ImageFilter.GaussianBlur(3)),
    "caption": _captioned,
    "border of 5 %": lambda image: ImageOps.expand(image, max(image.size) // 20, "white"),
    "crop to 90 %": _cropped(0.9),
    "crop to 75 %": _cropped(0.75),
    "crop to 50 %": _cropped(0.5),
    "rotated by 5 degrees": lambda image: image.rotate(5),
    "mirrored": ImageOps.mirror,
    "pasted at 60 %": _pasted,
}


def detection(known: Path, unrelated: Path, every: int) -> None:
    """Shares of clear, review and block: of edited copies of the known, and of unrelated pictures.

    Every `every`-th known picture is edited. What the descriptor was trained on is left out of the
    unrelated ones when they are its training folder.
    """
    from provenance.embed.train import held_out_files

    strangers = held_out_files(unrelated) or image_files(unrelated)
    with tempfile.TemporaryDirectory() as place:
        settings = load_settings(home=Path(place))
        with make_library(settings) as library:
            ingest(FolderSource(known), library, factory(), workers=settings.workers)
            checker = make_checker(settings, library)
            print(f"{len(library)} references, policy {checker.policy.name}")
            ranked = [f"nearest by {name}" for name in _RANKED]
            columns = ["pictures", "edit", "block", "review", "clear", *ranked]
            print(f"| {' | '.join(columns)} |\n|{' --- |' * len(columns)}")
            for name, edit in EDITS.items():
                _print_row(name, edit, image_files(known)[::every], checker)
            _print_strangers(strangers, checker, settings)


def _print_row(name: str, edit: Edit, files: Sequence[Path], checker: Checker) -> None:
    decisions, nearest = [], dict.fromkeys(_RANKED, 0)
    for file in files:
        fingerprint = checker.fingerprinter.describe([edit(read_picture(file).image)])[0]
        decisions.append(str(checker.judge(fingerprint).decision))
        candidates = checker.index.search(fingerprint, 1)
        for descriptor in _RANKED:
            best = max(candidates, key=lambda c, d=descriptor: c.similarity[d])  # type: ignore[misc]
            nearest[descriptor] += best.reference.uri == file.resolve().as_uri()
    shares = [decisions.count(d) / len(files) for d in ("block", "review", "clear")]
    shares += [found / len(files) for found in nearest.values()]
    print(f"| {len(files)} known | {name} | {' | '.join(f'{share:.1%}' for share in shares)} |")


def _print_strangers(files: Sequence[Path], checker: Checker, settings: Settings) -> None:
    found = audit(files, checker, factory(), workers=settings.workers)
    decisions = [row["decision"] for row in found]
    shares = [f"{decisions.count(d) / len(files):.2%}" for d in ("block", "review", "clear")]
    print(f"| {len(files)} unrelated | none | {' | '.join(shares)} | | |")


def speed() -> None:
    """How the check compares with painting, and each descriptor with decoding the file."""
    files = image_files(GALLERY)
    print(f"{len(files)} pictures of the demo gallery, each figure a mean over them")
    decode = _mean(lambda: [read_picture(file) for file in files], len(files))
    pictures = [read_picture(file) for file in files]
    descriptors: tuple[Descriptor, ...] = (*hash_descriptors(), BundledDescriptor())
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
            ingest(FolderSource(GALLERY), library, factory())
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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["speed", "detection"])
    parser.add_argument("--known", type=Path, help="folder of known pictures")
    parser.add_argument("--unrelated", type=Path, help="folder of pictures that are none of them")
    parser.add_argument("--every", type=int, default=4, help="edit every N-th known picture")
    args = parser.parse_args()
    if args.what == "speed":
        speed()
    elif args.known and args.unrelated:
        detection(args.known, args.unrelated, args.every)
    else:
        sys.exit("detection needs --known FOLDER and --unrelated FOLDER")


if __name__ == "__main__":
    main()
