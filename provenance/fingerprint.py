"""Fingerprint: what is computed from a picture's pixels, and how two of them compare.

Every value carries the name and version of what made it; values of different makers never meet.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from provenance.errors import CheckError, UsageError, VersionMismatch
from provenance.threads import side_by_side

Vector = NDArray[Any]
"""One descriptor's value: uint8 (bits / 8,) when its metric is hamming, float32 unit row (dim,)
when it is cosine; any number of packed features as uint8 when it is features.

A picture that is asked about may have several rows, (K, bits / 8) or (K, dim): the picture as it is
first, then its turns or its parts. The nearest of them counts, and a library keeps the first."""


@dataclass(frozen=True)
class DescriptorSpec:
    """What identifies a descriptor; `dim` counts bits (hamming) or numbers (cosine, features)."""

    name: str
    version: str
    metric: Literal["hamming", "cosine", "features"]
    dim: int

    def __str__(self) -> str:
        return f"{self.name} version {self.version}"


class Descriptor(Protocol):
    """Pictures in, one vector each out."""

    @property
    def spec(self) -> DescriptorSpec: ...

    def describe(self, images: Sequence[Image.Image]) -> Sequence[Vector]: ...


@dataclass(frozen=True)
class Value:
    """A vector with its maker."""

    spec: DescriptorSpec
    vector: Vector


@dataclass(frozen=True)
class Fingerprint:
    """One picture's fingerprint.

    `content` is the BLAKE3 of its decoded pixels, `detail` how much there is to compare
    (0..100), `values` one Value for each descriptor by its name.
    """

    content: str
    width: int
    height: int
    detail: float
    values: Mapping[str, Value]


def similarity(a: Value, b: Value) -> float:
    """0..1, 1 = same: the share of equal bits, or the cosine with its negative half cut off.

    Raises VersionMismatch for values of different makers, UsageError for features, which
    `local.second_look` compares.
    """
    return similarities(a, [b])[0]


def similarities(asked: Value, held: Sequence[Value]) -> list[float]:
    """`similarity` to each of several, at once."""
    spec = asked.spec
    for value in held:
        if value.spec != spec:
            raise VersionMismatch(f"{spec} cannot be compared with {value.spec}; fingerprint anew")
    if spec.metric == "features":
        raise UsageError(f"{spec} has no similarity of its own: it needs a second look")
    rows = np.array([value.vector for value in held])
    theirs = rows.reshape(len(held), 1, -1, rows.shape[-1])  # (N, 1, M, width)
    mine = np.atleast_2d(asked.vector)[:, None]  # (K, 1, width)
    if spec.metric == "hamming":
        apart = np.bitwise_count(mine ^ theirs).sum(axis=-1).min(axis=(1, 2))
        return [1.0 - int(bits) / spec.dim for bits in apart]
    return [float(x) for x in np.clip((mine * theirs).sum(axis=-1).max(axis=(1, 2)), 0.0, 1.0)]


_LONGEST = ("features", "cosine", "hamming")  # the metrics, by how long descriptors take


class Fingerprinter:
    """Runs pHash, which also tells how much there is to compare, and other descriptors."""

    def __init__(self, descriptors: Sequence[Descriptor] = ()) -> None:
        from provenance.phash import PHASH

        self._descriptors = tuple(descriptors)
        self._longest_first = sorted(descriptors, key=lambda d: _LONGEST.index(d.spec.metric))
        self.specs = (PHASH, *(descriptor.spec for descriptor in self._descriptors))
        names = [spec.name for spec in self.specs]
        if len(set(names)) < len(names):
            raise UsageError(f"a fingerprint's descriptors need different names, got {names}")

    def describe(self, images: Sequence[Image.Image]) -> list[Fingerprint]:
        """One fingerprint a picture (RGB), the same alone and in a batch."""
        from provenance.phash import PHASH, phash

        small = [reduced(image) for image in images] if self._descriptors else []
        work = [partial(descriptor.describe, small) for descriptor in self._longest_first]
        done = zip(self._longest_first, side_by_side(work), strict=True)
        columns = {descriptor.spec: rows for descriptor, rows in done}
        prints = []
        for row, image in enumerate(images):
            bits, detail = phash(image)
            if min(_reduced_size(image)) < SMALLEST:
                detail = 0.0
            values = {spec.name: Value(spec, rows[row]) for spec, rows in columns.items()}
            values[PHASH.name] = Value(PHASH, bits)
            content = content_hash(image)
            prints.append(Fingerprint(content, image.width, image.height, detail, values))
        return prints


def unit_row(spec: DescriptorSpec, numbers: NDArray[Any]) -> Vector:
    """A network's output as float32 of length 1; raises CheckError where it is not `spec`'s."""
    if numbers.shape != (spec.dim,):
        raise CheckError(f"{spec} should give {spec.dim} numbers and gives {numbers.size}")
    length = float(np.linalg.norm(numbers))
    if not 0 < length < np.inf:
        raise CheckError(f"{spec} gives no usable numbers for a picture")
    row: NDArray[np.float32] = np.divide(numbers, length, dtype=np.float32)
    return row


REDUCED_SIDE = 512
SMALLEST = 5  # pixels a side of what is reduced, under which there is nothing to compare


def reduced(image: Image.Image) -> Image.Image:
    """The picture with its longest side at most 512 pixels: what every descriptor but pHash sees.

    A part of every descriptor's version: a change here changes hashes.
    """
    if max(image.size) <= REDUCED_SIDE:
        return image
    return image.resize(_reduced_size(image), Image.Resampling.BILINEAR, reducing_gap=2.0)


def _reduced_size(image: Image.Image) -> tuple[int, int]:
    scale = min(1.0, REDUCED_SIDE / max(image.size))
    return max(1, round(image.width * scale)), max(1, round(image.height * scale))


def content_hash(image: Image.Image) -> str:
    """BLAKE3 of size and RGB bytes: equal for the same pixels in any file format.

    A quarter of the time of SHA-256, which takes as long as half of the decoding.
    """
    from blake3 import blake3

    digest = blake3(f"{image.width}x{image.height}".encode())
    return digest.update(image.tobytes()).hexdigest()
