"""Further perceptual hashes as packed bits: pHash-64 and dHash (imagehash), PDQ (pdqhash).

Pictures arrive already reduced (see `fingerprint.reduced`). Packed bits and not imagehash's own
objects, whose `!=` and `hash()` are wrong.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from provenance.fingerprint import SMALLEST, DescriptorSpec, Vector

VERSION = "1"


class HashDescriptor:
    """A Descriptor made of one hash function: picture → packed bits, one row or several."""

    def __init__(self, name: str, bits: int, compute: Callable[[Image.Image], Vector]) -> None:
        self.spec = DescriptorSpec(name, VERSION, "hamming", bits)
        self._compute = compute

    def describe(self, images: Sequence[Image.Image]) -> list[Vector]:
        """(bits / 8,) or (8, bits / 8) uint8 each."""
        return [self._compute(image) for image in images]


def hash_descriptors() -> tuple[HashDescriptor, ...]:
    """PDQ (Meta), pHash at 64 bits (Klinger and Starkweather) and dHash at 256 (Krawetz)."""
    return (
        HashDescriptor(PDQ, 256, pdq),
        HashDescriptor("phash-64", 64, _phash),
        HashDescriptor("dhash-256", 256, _dhash),
    )


def _phash(image: Image.Image) -> Vector:
    import imagehash

    return np.packbits(imagehash.phash(image, hash_size=8).hash)


def _dhash(image: Image.Image) -> Vector:
    import imagehash

    return np.packbits(imagehash.dhash(image, hash_size=16).hash)


PDQ = "pdq-256"


def pdq(image: Image.Image) -> NDArray[np.uint8]:
    """Meta's PDQ hashes.

    (8, 32) uint8: of the picture as it is, then of its turns by right angles and its mirror images,
    which come from the same transform of the picture.
    """
    import pdqhash

    if min(image.size) < SMALLEST:  # its filters have nothing to work on
        return np.zeros((8, 32), np.uint8)
    bits, _ = pdqhash.compute_dihedral(np.asarray(image))
    return np.packbits(np.array(bits, np.bool_), axis=1)
