"""Perceptual hashes as packed bits: pHash and dHash (imagehash), PDQ with its quality (pdqhash).

Pictures arrive already reduced (see `fingerprint.reduced`). Packed bits and not imagehash's own
objects, whose `!=` and `hash()` are wrong.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from provenance.fingerprint import DescriptorSpec, Vector

VERSION = "1"


class HashDescriptor:
    """A Descriptor made of one hash function: picture → bits."""

    def __init__(self, name: str, bits: int, compute: Callable[[Image.Image], NDArray[np.bool_]]):
        self.spec = DescriptorSpec(name, VERSION, "hamming", bits)
        self._compute = compute

    def describe(self, images: Sequence[Image.Image]) -> list[Vector]:
        """(bits / 8,) uint8 each."""
        return [np.packbits(self._compute(image)) for image in images]


def hash_descriptors() -> tuple[HashDescriptor, ...]:
    """pHash at 64 and 256 bits (Klinger and Starkweather) and dHash at 256 (Krawetz)."""
    return (
        HashDescriptor("phash-64", 64, partial(_phash, side=8)),
        HashDescriptor("phash-256", 256, partial(_phash, side=16)),
        HashDescriptor("dhash-256", 256, _dhash),
    )


def _phash(image: Image.Image, side: int) -> NDArray[np.bool_]:
    import imagehash

    bits: NDArray[np.bool_] = imagehash.phash(image, hash_size=side).hash
    return bits.ravel()


def _dhash(image: Image.Image) -> NDArray[np.bool_]:
    import imagehash

    bits: NDArray[np.bool_] = imagehash.dhash(image, hash_size=16).hash
    return bits.ravel()


PDQ = DescriptorSpec("pdq-256", VERSION, "hamming", 256)
_SMALLEST = 5  # pixels a side under which PDQ's filters have nothing to work on


def pdq(image: Image.Image) -> tuple[NDArray[np.uint8], float]:
    """Meta's PDQ hashes and its quality: 0..100, how much gradient the picture has.

    (8, 32) uint8: of the picture as it is, then of its turns by right angles and its mirror images,
    which come from the same transform of the picture. Meta discards hashes of a quality under 50.
    """
    import pdqhash

    if min(image.size) < _SMALLEST:
        return np.zeros((8, 32), np.uint8), 0.0
    bits, quality = pdqhash.compute_dihedral(np.asarray(image))
    return np.packbits(np.array(bits, np.bool_), axis=1), float(quality)
