"""Chance: how many unrelated references come as close as this, in a library of this size.

Measured on the library itself and on pictures that are not in it: for each, how close the nearest
unrelated reference comes. What lies beyond the measured is extrapolated with an exponential tail
over a high threshold (peaks over threshold: Pickands, 1975). Knows nothing of policies.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from provenance.errors import UsageError
from provenance.fingerprint import DescriptorSpec

Similarities = Mapping[str, float]
"""Of one reference with one picture, by descriptor."""

LEAST_PICTURES = 200  # with fewer, a tail is a guess
_TAIL = 0.8  # quantile of the nearest from which on the tail is fitted
_SURE = 1.645  # standard errors over the mean excess: 95 of 100 such tails are no heavier
_LEAST = 1e-6
_STALE = 1.2  # change of the library's size by which a calibration goes stale


@dataclass(frozen=True)
class Tail:
    """How rare it is for an unrelated reference to come close, by one descriptor.

    The nearest is more similar than `start` (0..1) for a `share` (0..1) of pictures, and beyond
    that its similarity is an exponential variable whose mean is about `scale`, and no larger than
    `widest` in 95 of 100 cases.
    """

    spec: DescriptorSpec
    start: float
    share: float
    scale: float
    widest: float

    def chance(self, similarity: float) -> float:
        """Unrelated references expected to be as similar as this (0..1) or more."""
        return self._left(similarity, self.scale)

    def most(self, similarity: float) -> float:
        """As `chance`, at most: what may be told of a single match.

        Never less than a millionth of the share: nothing that was measured tells of less.
        """
        return max(self._left(similarity, self.widest), self.share * _LEAST)

    def _left(self, similarity: float, scale: float) -> float:
        return self.share * math.exp((self.start - similarity) / scale)

    def similarity(self, chance: float) -> float:
        """The similarity (0..1) that has this chance."""
        return min(1.0, max(0.0, self.start + self.scale * math.log(self.share / chance)))


@dataclass(frozen=True)
class Calibration:
    """Tails by descriptor, and what they were measured on.

    `pictures` were asked about, `related` of them resembled a reference that was set aside.
    """

    version: str
    references: int
    pictures: int
    related: int
    tails: Mapping[str, Tail]

    def at(self, references: int) -> Mapping[str, Tail]:
        """The tails for a library of another size: twice the references, twice the chance."""
        larger = references / self.references
        return {n: replace(tail, share=tail.share * larger) for n, tail in self.tails.items()}

    def stale(self, references: int) -> bool:
        """Whether the library has become a fifth larger, or a sixth smaller, than it was."""
        return not 1 / _STALE <= references / self.references <= _STALE

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Calibration":
        tails = {
            name: Tail(**{**tail, "spec": DescriptorSpec(**tail["spec"])})
            for name, tail in data["tails"].items()
        }
        return cls(**{**data, "tails": tails})


@dataclass(frozen=True)
class Measured:
    """A calibration and what it rests on.

    `nearest` has the similarity of the nearest unrelated reference to each picture, (pictures,), by
    descriptor; `related` the pairs (picture, reference), by their places in what was asked.
    """

    calibration: Calibration
    nearest: Mapping[str, NDArray[np.float64]]
    related: Sequence[tuple[int, int]]


def calibrate(
    found: Sequence[Sequence[Similarities]],
    related: Collection[tuple[int, int]],
    specs: Sequence[DescriptorSpec],
    version: str,
    references: int,
) -> Measured:
    """Fits the tails to the candidates `found` for each picture that was asked about.

    The pairs (picture, candidate) that are `related`, by their places in `found`, are set aside:
    libraries hold copies of their own pictures. Raises UsageError for fewer than LEAST_PICTURES
    pictures.
    """
    if references < 1:
        raise UsageError("an empty library cannot be calibrated; add references first")
    if len(found) < LEAST_PICTURES:
        raise UsageError(
            f"to calibrate takes at least {LEAST_PICTURES} pictures with enough detail, there are "
            f"{len(found)}; name a folder of unrelated ones with --unrelated"
        )
    aside = set(related)
    unrelated = [
        [similar for number, similar in enumerate(candidates) if (at, number) not in aside]
        for at, candidates in enumerate(found)
    ]
    nearest = {spec.name: _nearest(unrelated, spec) for spec in specs}
    tails = {spec.name: _tail(spec, nearest[spec.name]) for spec in specs}
    counted = len({at for at, _ in aside})
    calibration = Calibration(version, references, len(found), counted, tails)
    return Measured(calibration, nearest, sorted(aside))


def interval(count: float, of: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a share, from `count` of so many (Wilson, 1927)."""
    share = count / of
    middle = share + z * z / (2 * of)
    spread = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    return max(0.0, middle - spread) / (1 + z * z / of), (middle + spread) / (1 + z * z / of)


def _nearest(found: Sequence[Sequence[Similarities]], spec: DescriptorSpec) -> NDArray[np.float64]:
    """(pictures,) the largest similarity of each picture's candidates."""
    return np.array([max((s.get(spec.name, 0.0) for s in each), default=0.0) for each in found])


def _tail(spec: DescriptorSpec, nearest: NDArray[np.float64]) -> Tail:
    start = float(np.quantile(nearest, _TAIL))
    beyond = nearest[nearest > start] - start
    if not len(beyond):  # so many ties that nothing is beyond: the least that can be told apart
        return Tail(spec, start, 1 / len(nearest), 1 / spec.dim, 1 / spec.dim)
    scale = float(beyond.mean())
    widest = scale * (1 + _SURE / math.sqrt(len(beyond)))
    return Tail(spec, start, len(beyond) / len(nearest), scale, widest)
