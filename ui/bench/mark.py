"""What the invisible mark survives, how visible it is, how often it is seen where there is none."""

import hashlib
import io
import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import mean, median

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from index.sources import image_files
from provenance.fingerprint import Fingerprinter, similarity
from provenance.hashes import hash_descriptors
from provenance.images import read_picture
from provenance.label.mark import CHANCE, PAYLOAD, SMALLEST, detect, embed

KEY = hashlib.sha256(b"the bench's key").digest()
OTHER_KEY = hashlib.sha256(b"another key").digest()
_CROPS_OF_EACH = 2  # of the unmarked pictures
_SEARCHED = 200  # unmarked pictures in which parts are looked for, which takes long

Edit = Callable[[Image.Image], Image.Image]


def measure(folder: Path, more: Path | None, every: int, sides: Sequence[int]) -> None:
    """Marks every N-th picture, at each size, and looks for marks in all, and in parts of them."""
    files = image_files(folder)
    for side in sides:
        survival(files[::every], side)
    unmarked([*files, *(image_files(more) if more else ())])


def survival(files: Sequence[Path], side: int) -> None:
    """A table: of the pictures with `side` pixels, in how many the right payload was found."""
    originals = [_square(read_picture(file).image, side) for file in files]
    payloads = [hashlib.sha256(str(n).encode()).digest()[:PAYLOAD] for n in range(len(files))]
    began = time.process_time()
    marked = [embed(image, KEY, p) for image, p in zip(originals, payloads, strict=True)]
    took = (time.process_time() - began) / len(files)
    pairs = list(zip(originals, marked, strict=True))
    loss, like = [psnr(*pair) for pair in pairs], [ssim(*pair) for pair in pairs]
    print(f"\n{len(files)} pictures of {side} px; marking one takes {took * 1000:.1f} ms of a core")
    print(f"PSNR {mean(loss):.1f} dB (least {min(loss):.1f}), SSIM {mean(like):.4f}"
          f" (least {min(like):.4f})")  # fmt: skip
    print(f"fingerprints, marked to unmarked: {_closeness(pairs[:40])}")
    print("| edit | found | median z | least z |\n| --- | --- | --- | --- |")
    for name, edit in EDITS.items():
        found = [detect(edit(image), KEY, parts="cut" in name) for image in marked]
        right = [m is not None and m.payload == p for m, p in zip(found, payloads, strict=True)]
        seen = [m.z for m in found if m] or [0.0]
        print(f"| {name} | {mean(right):.1%} | {median(seen):.1f} | {min(seen):.1f} |")
    wrong = sum(detect(image, OTHER_KEY) is not None for image in marked)
    print(f"by another key: {wrong} of {len(marked)}")


def unmarked(files: Sequence[Path]) -> None:
    """How often a mark is told of a picture that has none, and how high `z` comes in one."""
    rng = random.Random(0)
    looked, told, highest = 0, 0, 0.0
    for number, file in enumerate(files):
        for picture in _with_crops(read_picture(file).image, rng):
            found = detect(picture, KEY, most=1.0)
            looked, highest = looked + 1, max(highest, found.z if found else 0.0)
            told += found is not None and found.chance <= CHANCE
        if number < _SEARCHED:
            told += detect(read_picture(file).image, KEY, parts=True) is not None
    limit = -np.log(0.05) / looked  # the rule of three: the 95 % bound where none was seen
    print(f"\nunmarked: a mark was told of {told} of {looked:,} (highest z {highest:.2f})"
          f"{f', so of fewer than 1 in {1 / limit:,.0f} (95 %)' if not told else ''};"
          f" {min(_SEARCHED, len(files))} of them were searched for parts too")  # fmt: skip


def psnr(one: Image.Image, other: Image.Image) -> float:
    """Decibels."""
    apart = np.asarray(one, np.float64) - np.asarray(other, np.float64)
    return float(10 * np.log10(255**2 / np.mean(apart**2)))


def ssim(one: Image.Image, other: Image.Image) -> float:
    """Structural similarity (Wang et al., 2004) of luminance, in blocks of 8 x 8 pixels."""
    a, b = (_blocks(np.asarray(image.convert("L"), np.float64)) for image in (one, other))
    mean_a, mean_b = a.mean(axis=-1), b.mean(axis=-1)
    shared = ((a - mean_a[..., None]) * (b - mean_b[..., None])).mean(axis=-1)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    level = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return float((level * (2 * shared + c2) / (a.var(axis=-1) + b.var(axis=-1) + c2)).mean())


def _blocks(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    rows, columns = plane.shape[0] // 8, plane.shape[1] // 8
    cut = plane[: rows * 8, : columns * 8].reshape(rows, 8, columns, 8)
    return cut.transpose(0, 2, 1, 3).reshape(rows, columns, 64)


def _closeness(pairs: Sequence[tuple[Image.Image, Image.Image]]) -> str:
    prints = Fingerprinter(hash_descriptors())
    told: dict[str, list[float]] = {}
    for pair in pairs:
        one, other = prints.describe(pair)
        for name, value in one.values.items():
            told.setdefault(name, []).append(similarity(value, other.values[name]))
    return ", ".join(f"{n} {mean(all_):.4f} (least {min(all_):.4f})" for n, all_ in told.items())


def _with_crops(image: Image.Image, rng: random.Random) -> Iterator[Image.Image]:
    yield image
    for _ in range(_CROPS_OF_EACH):
        width, height = (max(SMALLEST, round(rng.uniform(0.4, 0.9) * s)) for s in image.size)
        left = rng.randrange(max(1, image.width - width + 1))
        top = rng.randrange(max(1, image.height - height + 1))
        yield image.crop((left, top, left + width, top + height))


def _square(image: Image.Image, side: int) -> Image.Image:
    return image.resize((side, side), Image.Resampling.LANCZOS)


def _coded(kind: str, quality: int) -> Edit:
    def edit(image: Image.Image) -> Image.Image:
        out = io.BytesIO()
        image.save(out, kind, quality=quality)
        return read_picture(out.getvalue()).image

    return edit


def _scaled(share: float) -> Edit:
    return lambda image: image.resize((round(image.width * share), round(image.height * share)))


def _brighter(factor: float) -> Edit:
    return lambda image: image.point(lambda value: min(255, round(value * factor)))


def _cut(left: float, top: float, right: float, bottom: float) -> Edit:
    def edit(image: Image.Image) -> Image.Image:
        width, height = image.size
        return image.crop((round(left * width), round(top * height),
                           round((1 - right) * width), round((1 - bottom) * height)))  # fmt: skip

    return edit


def _then(*edits: Edit) -> Edit:
    def edit(image: Image.Image) -> Image.Image:
        for each in edits:
            image = each(image)
        return image

    return edit


EDITS: dict[str, Edit] = {
    "none": lambda image: image,
    "JPEG 90": _coded("JPEG", 90),
    "JPEG 70": _coded("JPEG", 70),
    "JPEG 50": _coded("JPEG", 50),
    "JPEG 30": _coded("JPEG", 30),
    "WebP 80": _coded("WEBP", 80),
    "half size": _scaled(0.5),
    "half size, JPEG 70": _then(_scaled(0.5), _coded("JPEG", 70)),
    "twice the size": _scaled(2.0),
    "brighter by 10 %": _brighter(1.1),
    "darker by 20 %": _brighter(0.8),
    "2 % cut off all around": _cut(0.02, 0.02, 0.02, 0.02),
    "a tenth cut off below": _cut(0, 0, 0, 0.1),
    "cut off unevenly": _cut(0.031, 0.012, 0.02, 0.045),
    "cut off unevenly, JPEG 70": _then(_cut(0.031, 0.012, 0.02, 0.045), _coded("JPEG", 70)),
}
