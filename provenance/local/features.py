"""Local features of a picture, and a tiny picture of it beside them.

Features are SIFT (Lowe, 2004) with the square-root kernel (Arandjelović and Zisserman, 2012). A
mirrored or an inverted picture has the same features in another order of their cells, so both are
looked for without computing anything twice. Knows nothing of what features are compared with.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from provenance.fingerprint import DescriptorSpec, Vector

Points = NDArray[np.float32]
"""(N, 2): x and y as shares of the picture's width and height."""

SPEC = DescriptorSpec("sift-128", "3", "features", 128)
MOST = 500  # features of a picture
KEPT = 300  # features of a reference
TINY = 32  # pixels a side of the tiny picture
HEAD = TINY * TINY * 3  # bytes of it, before the features
ROW = 7 + SPEC.dim  # bytes of a feature: x and y as uint16, its colour, then the descriptor
_SCALE = 512  # RootSIFT in [0, 0.5) as uint8


class LocalDescriptor:
    """A Descriptor whose value is the picture at TINY x TINY pixels, and any number of features.

    Packed as uint8 (HEAD + N * ROW,).
    """

    def __init__(self, most: int = MOST) -> None:
        self.spec = SPEC
        self._most = most

    def describe(self, images: Sequence[Image.Image]) -> list[Vector]:
        return [np.concatenate([_tiny(image), self._features(image)]) for image in images]

    def _features(self, image: Image.Image) -> Vector:
        grey = np.asarray(image.convert("L"))
        found = self._sift.detect(grey, None)
        if not found:
            return np.zeros(0, np.uint8)
        strengths = np.array([point.response for point in found])
        order = _spread(_places(found, image), strengths)[: self._most]
        found, rows = self._sift.compute(grey, [found[at] for at in order])
        roots = np.sqrt(rows / np.maximum(rows.sum(1, keepdims=True), 1e-7))
        packed = np.empty((len(found), ROW), np.uint8)
        places = _places(found, image)
        packed[:, :4] = (places * 65535).astype("<u2").view(np.uint8)
        packed[:, 4:7] = _colours(image, places)
        packed[:, 7:] = (roots * _SCALE).round().clip(0, 255)
        return packed.ravel()

    @cached_property
    def _sift(self) -> Any:
        import cv2

        cv2.setNumThreads(1)
        return cv2.SIFT.create(contrastThreshold=_FAINT)


def _tiny(image: Image.Image) -> Vector:
    """(HEAD,) uint8."""
    small = image.convert("RGB").resize((TINY, TINY), Image.Resampling.BOX)
    return np.asarray(small).ravel()


def _places(found: Sequence[Any], image: Image.Image) -> NDArray[Any]:
    """(N, 2) in 0..1."""
    places = np.array([point.pt for point in found]).reshape(-1, 2) / image.size
    return places.clip(0, 1)


def _colours(image: Image.Image, places: NDArray[Any]) -> NDArray[np.uint8]:
    """(N, 3) uint8: the mean colour around each place, over a 128th of the picture."""
    small = image.convert("RGB").reduce(max(1, max(image.size) // 128))
    at = np.minimum((places * small.size).astype(np.intp), np.array(small.size) - 1)
    found: NDArray[np.uint8] = np.asarray(small)[at[:, 1], at[:, 0]]
    return found


_FAINT, _CLEAR = 0.01, 0.04  # contrast: the least that counts, and Lowe's threshold
_LAYERS = 3  # of an octave; OpenCV's strengths are contrasts divided by it
_GRID = 8  # cells a side over which features are spread


def _spread(places: NDArray[Any], strengths: NDArray[Any]) -> NDArray[np.intp]:
    """Row numbers such that any first n of them are spread over the picture.

    The strongest of every cell of a grid come first, then the second strongest, and so on: text in
    a corner must not leave the rest of a picture without features. Faint features come last, for
    the pictures that have no others.
    """
    cells = (places.clip(0, 0.9999) * _GRID).astype(np.intp) @ np.array([1, _GRID])
    order = np.lexsort((-strengths, cells))
    starts = np.flatnonzero(np.r_[True, np.diff(cells[order]) > 0])
    sizes = np.diff(np.r_[starts, len(order)])
    ranks = np.arange(len(order)) - np.repeat(starts, sizes)
    faint = strengths[order] < _CLEAR / _LAYERS
    return order[np.lexsort((-strengths[order], ranks, faint))]


@dataclass(frozen=True)
class Features:
    """A picture's features: places, colours (N, 3) as float32 in 0..1, and RootSIFT descriptors
    (N, 128) as float32 unit rows; and the tiny picture, (TINY, TINY, 3) as float32 in 0..1."""

    points: Points
    colours: NDArray[np.float32]
    descriptors: NDArray[np.float32]
    tiny: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.points)


def kept(value: Vector) -> Vector:
    """What a library keeps of packed features: the first KEPT."""
    return value[: HEAD + KEPT * ROW]


def rows_of(value: Vector) -> Vector:
    """(N, ROW): the packed features alone."""
    return value[HEAD:].reshape(-1, ROW)


def unpacked(value: Vector, most: int = MOST) -> Features:
    """The first `most` of the features that `LocalDescriptor` packed."""
    tiny = value[:HEAD].reshape(TINY, TINY, 3).astype(np.float32) / np.float32(255)
    rows = rows_of(value)[:most]
    points = np.ascontiguousarray(rows[:, :4]).view("<u2").astype(np.float32) / np.float32(65535)
    colours = rows[:, 4:7].astype(np.float32) / np.float32(255)
    return Features(points, colours, descriptors(value, most), tiny)


def descriptors(value: Vector, most: int = MOST) -> NDArray[np.float32]:
    """(N, 128) float32 unit rows: the descriptors of the first `most` features alone."""
    found = rows_of(value)[:most, 7:].astype(np.float32)
    found /= np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-7)
    return found


def mirrored(descriptors: NDArray[Any]) -> NDArray[Any]:
    """What SIFT computes on the mirrored picture: rows of cells and turning sense reversed."""
    cells = descriptors.reshape(-1, 4, 4, 8)[:, ::-1]
    return cells[..., -np.arange(8) % 8].reshape(descriptors.shape)


def inverted(descriptors: NDArray[Any]) -> NDArray[Any]:
    """What SIFT computes on the negative: every gradient, and so the frame, turned by 180°."""
    return descriptors.reshape(-1, 4, 4, 8)[:, ::-1, ::-1].reshape(descriptors.shape)
