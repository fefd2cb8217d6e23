"""How far the pixels agree where two pictures lie on each other: what features alone cannot tell.

Two photographs of one carpet share features; their pixels differ where something else lies on it.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from provenance.local.features import TINY
from provenance.local.fit import Fit

Tiny = NDArray[np.float32]
"""(TINY, TINY, 3) in 0..1."""

_LEAST = 16  # pixels in common, with fewer nothing is told
_WINDOW = 5  # pixels a side of the surroundings in which structure is compared
_FAINT = 2e-4  # variance under which there is no structure
_ALIKE = 0.6  # correlation from which a pixel's surroundings are alike


class Resemblance(NamedTuple):
    """All 0..1: how well one change of colours explains the picture's pixels by the reference's
    (coefficient of determination); the mean correlation of their surroundings; the share of the
    pixels with structure around which is alike."""

    colour: float = 0.0
    structure: float = 0.0
    alike: float = 0.0


def resemblance(
    picture: Tiny,
    picture_frame: NDArray[np.float32],
    reference: Tiny,
    reference_frame: NDArray[np.float32],
    found: Fit,
    *,
    negative: bool,
) -> Resemblance:
    """Compares the tiny pictures where `found` lays the reference on the picture.

    Frames are the (width, height) in which `found` tells points; a mirrored picture is to be
    mirrored before.
    """
    import cv2

    steps = (np.indices((TINY, TINY))[::-1].transpose(1, 2, 0) + 0.5) / TINY  # (y, x) → (x, y)
    mine = float(np.sqrt(picture_frame.prod())) / TINY
    theirs = float(np.sqrt(reference_frame.prod())) / TINY * found.scale
    if theirs >= mine:
        at = found.moved(steps * reference_frame) / picture_frame
        a, b = _sampled(picture, at, theirs / mine), reference
    else:
        at = found.moved_back(steps * picture_frame) / reference_frame
        a, b = picture, _sampled(reference, at, mine / theirs)
    inside = ((at > 0.01) & (at < 0.99)).all(-1)
    if inside.sum() < _LEAST:
        return Resemblance()
    weights: Any = inside.astype(np.float32)
    count = np.maximum(cv2.boxFilter(weights, -1, (_WINDOW, _WINDOW), normalize=False), 1)

    def around(values: Any) -> Any:
        summed = cv2.boxFilter(values * weights, -1, (_WINDOW, _WINDOW), normalize=False)
        return summed / count

    light: Tiny = a.mean(-1)
    other: Tiny = b.mean(-1)
    middle, middle_other = around(light), around(other)
    spread = np.maximum(around(light * light) - middle**2, 0)
    spread_other = np.maximum(around(other * other) - middle_other**2, 0)
    shared = around(light * other) - middle * middle_other
    alike = shared / np.sqrt((spread + _FAINT) * (spread_other + _FAINT))
    alike = (-alike if negative else alike)[inside]
    structure = (spread + spread_other)[inside]
    told = alike[structure > 5 * _FAINT]
    weight = np.sqrt(structure)
    return Resemblance(
        _determination(a[inside], b[inside]),
        max(0.0, float((alike * weight).sum() / (weight.sum() + 1e-6))),
        float((told > _ALIKE).mean()) if len(told) > 5 else 0.0,
    )


def _sampled(tiny: Tiny, at: NDArray[np.float64], coarser: float) -> Tiny:
    """The tiny picture at these places (shares of its sides), blurred for so many times coarser
    pixels."""
    import cv2

    source: Any = np.ascontiguousarray(tiny)
    if coarser > 1.2:
        source = cv2.GaussianBlur(source, (0, 0), coarser / 2)
    places = (at * TINY - 0.5).astype(np.float32)
    found: Any = cv2.remap(
        source, places[..., 0], places[..., 1], cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    return np.asarray(found, np.float32)


def _determination(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """How much of (N, 3) colours `a` an affine change of the colours `b` explains, 0..1."""
    rows = np.c_[b, np.ones(len(b), np.float32)]
    change = np.linalg.lstsq(rows, a, rcond=None)[0]
    left = ((a - rows @ change) ** 2).mean(0).sum()
    return max(0.0, 1 - float(left / (a.var(0).sum() + 1e-4)))
