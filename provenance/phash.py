"""pHash with 256 bits (Klinger and Starkweather), bit for bit what imagehash gives, only faster.

Of a picture as it is and of its turns, and how much detail the picture has. Pillow's reduction to
64 x 64 pixels, which takes most of the time, is done by exact products of matrices. Knows nothing
of what a hash is compared with.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from provenance.fingerprint import DescriptorSpec

Matrix = NDArray[np.float64]

PHASH = DescriptorSpec("phash-256", "2", "hamming", 256)
_SIDE, _LOW = 64, 16  # pixels a side of the reduced picture; frequencies a side of the hash


def phash(image: Image.Image) -> tuple[NDArray[np.uint8], float]:
    """The hashes of a picture and its detail, 0..100: PDQ's quality, of pHash's reduced picture.

    (8, 32) uint8: of the picture as it is, then of its turns by right angles and its mirror images.
    """
    small = reduced_luminance(image)
    waves = _cosines()
    # Rounded, so that what is zero but for the order of the sums is zero, as in imagehash.
    low = np.round(waves @ small @ waves.T, 5)
    mirrored = low * _signs()
    ordered = np.partition(mirrored.reshape(4, -1), (127, 128))
    bits = mirrored > (ordered[:, 127:129].sum(axis=1) / 2)[:, None, None]  # the median
    turned = np.concatenate([bits, bits.transpose(0, 2, 1)])
    return np.packbits(turned.reshape(8, -1), axis=1), _detail(small)


def reduced_luminance(image: Image.Image) -> Matrix:
    """(64, 64) of 0..255: `image.convert("L").resize((64, 64), LANCZOS)` to the last bit.

    Pillow sums whole numbers, weights of 22 bits after the point, and rounds after each direction;
    sums of such numbers are exact in float64 too, in any order.
    """
    grey = np.asarray(image.convert("L"))
    height, width = grey.shape
    if height > _TALL * width or max(height, width) > _LONG:
        done = Image.fromarray(grey).resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
        return np.asarray(done, np.float64)
    narrow = np.empty((height, _SIDE))
    block = np.empty((max(1, min(height, _AT_ONCE // width)), width))
    for top in range(0, height, len(block)):
        rows = block[: height - top]
        rows[:] = grey[top : top + len(rows)]
        for band in _bands(width):
            part = narrow[top : top + len(rows), band.of]
            np.matmul(rows[:, band.reads], band.weights, out=part)
    _round(narrow)
    small = np.empty((_SIDE, _SIDE))
    for band in _bands(height):
        np.matmul(band.weights.T, narrow[band.reads], out=small[band.of])
    return _round(small)


class _Band(NamedTuple):
    """A few of the 64 reduced pixels, the pixels that they are made of, and by which weights."""

    of: slice
    reads: slice
    weights: Matrix


_TALL = 100  # from which height : width on Pillow begins with the columns
_LONG = 4096  # pixels a side from which on weights take more memory than they are worth
_BAND = 8  # reduced pixels a band: fewer make more products, more make more zeros
_AT_ONCE = 2**16  # pixels: what stays in the processor's cache, and is too little for two threads


@lru_cache(maxsize=256)
def _bands(length: int) -> list[_Band]:
    """Pillow's Lanczos weights for `length` pixels → 64 (libImaging/Resample.c)."""
    scale = length / _SIDE
    stretch = max(scale, 1.0)
    bands = []
    for first in range(0, _SIDE, _BAND):
        centres = (np.arange(first, first + _BAND) + 0.5) * scale
        begins = np.maximum((centres - 3 * stretch + 0.5).astype(int), 0)
        ends = np.minimum((centres + 3 * stretch + 0.5).astype(int), length)
        reads = slice(int(begins[0]), int(ends[-1]))
        at = np.arange(reads.start, reads.stop)[:, None]
        away = (at - centres + 0.5) / stretch
        weights = np.sinc(away) * np.sinc(away / 3) * (at >= begins) * (at < ends)
        weights *= (away >= -3) & (away < 3)
        weights /= weights.sum(axis=0)
        bits = np.trunc(weights * 2**22 + np.copysign(0.5, weights))
        bands.append(_Band(slice(first, first + _BAND), reads, bits / 2**22))
    return bands


def _round(values: Matrix) -> Matrix:
    """In place, to 0..255; halves go up."""
    values += 0.5
    np.floor(values, out=values)
    values.clip(0, 255, out=values)
    return values


@lru_cache(maxsize=1)
def _cosines() -> Matrix:
    """(16, 64): the 16 lowest frequencies of the DCT-II."""
    angles = np.outer(np.arange(_LOW), 2 * np.arange(_SIDE) + 1) * (np.pi / (2 * _SIDE))
    cosines: Matrix = 2 * np.cos(angles)
    return cosines


@lru_cache(maxsize=1)
def _signs() -> Matrix:
    """(4, 16, 16): what mirroring neither way, one way, the other, both ways does to them."""
    across = np.where(np.arange(_LOW) % 2, -1.0, 1.0)
    return np.stack([np.outer(a, b) for a in (across**2, across) for b in (across**2, across)])


def _detail(small: Matrix) -> float:
    """How much gradient there is, in whole hundredths (facebook/ThreatExchange pdqhashing.cpp)."""
    steps = np.concatenate([small[1:] - small[:-1], (small[:, 1:] - small[:, :-1]).T])
    gradient = int(np.floor(np.abs(steps, out=steps) * (100 / 255)).sum())
    return float(min(100, gradient // 90))
