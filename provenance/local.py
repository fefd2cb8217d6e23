"""Local features of a picture, and the second look at a pair: what of one is in the other, where.

Features are SIFT (Lowe, 2004) with the square-root kernel (Arandjelović and Zisserman, 2012). A
mirrored or an inverted picture has the same features in another order of their cells, so both are
looked for without computing anything twice.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from provenance.fingerprint import DescriptorSpec, Vector

Points = NDArray[np.float32]
"""(N, 2): x and y as shares of the picture's width and height."""

Polygon = tuple[tuple[float, float], ...]

SPEC = DescriptorSpec("sift-128", "2", "features", 128)
MOST = 500  # features of a picture
KEPT = 300  # features of a reference
ROW = 7 + SPEC.dim  # bytes of a feature: x and y as uint16, its colour, then the descriptor
_SCALE = 512  # RootSIFT in [0, 0.5) as uint8


class LocalDescriptor:
    """A Descriptor whose value is a variable number of features, packed as uint8 (N * 135,)."""

    def __init__(self, most: int = MOST) -> None:
        self.spec = SPEC
        self._most = most

    def describe(self, images: Sequence[Image.Image]) -> list[Vector]:
        return [self._describe(image) for image in images]

    def _describe(self, image: Image.Image) -> Vector:
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
    (N, 128) as float32 unit rows."""

    points: Points
    colours: NDArray[np.float32]
    descriptors: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.points)


def kept(value: Vector) -> Vector:
    """What a library keeps of packed features: the first KEPT."""
    return value[: KEPT * ROW]


def unpacked(value: Vector, most: int = MOST) -> Features:
    """The first `most` of the features that `LocalDescriptor` packed."""
    rows = value.reshape(-1, ROW)[:most]
    points = np.ascontiguousarray(rows[:, :4]).view("<u2").astype(np.float32) / np.float32(65535)
    colours = rows[:, 4:7].astype(np.float32) / np.float32(255)
    descriptors = rows[:, 7:].astype(np.float32)
    descriptors /= np.maximum(np.linalg.norm(descriptors, axis=1, keepdims=True), 1e-7)
    return Features(points, colours, descriptors)


def mirrored(descriptors: NDArray[Any]) -> NDArray[Any]:
    """What SIFT computes on the mirrored picture: rows of cells and turning sense reversed."""
    cells = descriptors.reshape(-1, 4, 4, 8)[:, ::-1]
    return cells[..., -np.arange(8) % 8].reshape(descriptors.shape)


def inverted(descriptors: NDArray[Any]) -> NDArray[Any]:
    """What SIFT computes on the negative: every gradient, and so the frame, turned by 180°."""
    return descriptors.reshape(-1, 4, 4, 8)[:, ::-1, ::-1].reshape(descriptors.shape)


@dataclass(frozen=True)
class Alignment:
    """What the second look found of a reference in a picture.

    `cells` counts the distinct places that one transform explains, in the picture and in the
    reference, whichever are fewer; `agreement` (0..1) is the share of the pairs of features that
    look alike which it explains; `overlap` (0..1) is the share of the reference between them,
    `explained` (0..1) their share of the picture's features; `reference_region` is the upright
    rectangle around them, in pixels of the reference, and `region` where it lies in the picture, in
    its pixels. `edits` are words for what was done.
    """

    cells: int
    agreement: float
    overlap: float
    explained: float
    region: Polygon
    reference_region: Polygon
    edits: tuple[str, ...] = ()

    @property
    def similarity(self) -> float:
        """0..1, from the number of places and from what they are a share of, whichever says less.

        Half at 10 places where all pairs agree, and at 12 % of the reference or 20 % of the
        picture's features: in unrelated pictures few pairs agree, and different pictures that share
        a printed logo or a text share less of both. The last is for a part of a reference whose
        features keep together.
        """
        places = self.cells * self.agreement
        share = max(self.overlap / 0.12, self.explained / 0.2) ** 2
        return min(places / (places + 10), share / (share + 1))


_RATIO = 0.8  # Lowe's ratio test
_TOLERANCE = 4.0  # pixels, at _SIDE pixels a side
_SIDE = 512.0
_SCALES = (0.1, 8.0)  # of one picture in the other
_CELL = 6.0  # pixels: features of one place count once


def second_look(
    picture: Features,
    picture_size: tuple[int, int],
    reference: Features,
    reference_size: tuple[int, int],
) -> Alignment | None:
    """The best alignment of a reference with a picture, upright, mirrored or as a negative.

    None where fewer than four features agree, or no plausible transform explains them. Sizes are
    (width, height) in pixels.
    """
    best: Alignment | None = None
    mine, theirs = _frame(picture_size), _frame(reference_size)
    there = reference.points * theirs
    for flip in (False, True):
        points = picture.points * (-1, 1) + (1, 0) if flip else picture.points
        here = (points * mine).astype(np.float32)
        rows = mirrored(picture.descriptors) if flip else picture.descriptors
        for negative in (False, True):
            pairs = _pairs(inverted(rows) if negative else rows, reference.descriptors)
            found = _aligned(here[pairs[0]], there[pairs[1]])
            if found is None or (best and best.cells >= found.cells):
                continue
            box = _box(found.reference_points)
            corners = found.moved(box) / mine
            corners = corners * (-1, 1) + (1, 0) if flip else corners
            best = Alignment(
                found.cells,
                round(len(found.rows) / len(pairs[0]), 4),
                _hull_area(found.reference_points / theirs),
                round(found.cells / len(picture), 4),
                _polygon(corners * picture_size),
                _polygon(box / theirs * reference_size),
                (
                    *("mirrored",) * flip,
                    *("negative",) * negative,
                    *_moves(found, mine, theirs),
                    *(() if negative else _recoloured(picture, reference, pairs, found)),
                    *("covered in part",) * _is_covered(found, here, mine, there, pairs),
                ),
            )
    return best


_Pairs = tuple[NDArray[np.intp], NDArray[np.intp]]
"""Row numbers of features of the picture and of the reference that belong together."""


def _moves(
    found: "_Fit", mine: NDArray[np.float32], theirs: NDArray[np.float32]
) -> tuple[str, ...]:
    """What the transform says was done to the reference."""
    import cv2

    whole = found.moved(_box(np.array([[0, 0], theirs]))).astype(np.float32)
    picture = _box(np.array([[0, 0], mine])).astype(np.float32)
    both, _ = cv2.intersectConvexConvex(whole, picture)
    turned = round(math.degrees(math.atan2(found.transform[1, 0], found.transform[0, 0])))
    large, small = np.linalg.svd(found.transform[:, :2], compute_uv=False)
    seen = {
        f"rotated by {abs(turned)}°": abs(turned) >= 3,
        "stretched": large > 1.12 * small,
        "cropped": both < 0.9 * cv2.contourArea(whole),
        "part of a larger picture": both < 0.8 * mine.prod(),
    }
    return tuple(words for words, is_so in seen.items() if is_so)


def _recoloured(
    picture: Features, reference: Features, pairs: _Pairs, found: "_Fit"
) -> tuple[str, ...]:
    """What the colours say of the places that agree."""
    mine = picture.colours[pairs[0][found.rows]]
    theirs = reference.colours[pairs[1][found.rows]]
    vivid, was_vivid = (float(np.median(c.max(1) - c.min(1))) for c in (mine, theirs))
    if vivid < _GREY < _VIVID < was_vivid:
        return ("grey",)
    shift = np.abs(np.median(mine - theirs, axis=0)).max()
    changed = max(float(shift), abs(vivid - was_vivid)) > _CHANGED
    return ("other colours",) * changed


_GREY, _VIVID = 0.03, 0.08  # the spread of red, green and blue: at most in grey, at least in colour
_CHANGED = 0.05  # of 0..1: a shift of all places; compression and resizing shift them less
_PATCHES = 6  # a side, into which a reference is divided
_NEARBY = 32.0  # pixels: where a bend that no affine transform explains may take a place


def _is_covered(
    found: "_Fit", here: NDArray[Any], mine: NDArray[np.float32], there: NDArray[Any], pairs: _Pairs
) -> bool:
    """Whether parts of the reference that lie in the picture have features, but none that agree.

    By features of the reference elsewhere, the chance of each of these parts is under 1 %.
    """
    moved = found.moved(there)
    inside = ((moved > 0) & (moved < mine)).all(1)
    patches = (there / (there.max(0) + 1e-3) * _PATCHES).astype(np.intp) @ np.array([1, _PATCHES])
    agree = np.zeros(len(there), np.bool_)
    off = np.linalg.norm(moved[pairs[1]] - here[pairs[0]], axis=1)
    agree[pairs[1][off < _NEARBY]] = True
    held = np.bincount(patches[inside], minlength=_PATCHES**2)
    seen = np.bincount(patches[inside & agree], minlength=_PATCHES**2)
    missed = 1 - seen.sum() / max(1, held[seen > 0].sum())
    return bool((missed ** held[seen == 0] < 0.01).sum() >= 2)


def _frame(size: tuple[int, int]) -> NDArray[np.float32]:
    return np.array(size, np.float32) * (_SIDE / max(size))


def _pairs(a: NDArray[Any], b: NDArray[Any]) -> _Pairs:
    """Rows of `a` and of `b` that are each other's nearest, and clearly nearer than the second."""
    if len(a) < 4 or len(b) < 4:
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    alike = a @ b.T
    nearest = alike.argmax(1)
    rows = np.flatnonzero(alike.argmax(0)[nearest] == np.arange(len(a)))
    two = np.partition(alike[rows], -2, axis=1)[:, -2:]
    far = np.sqrt(np.maximum(0, 2 - 2 * two))  # (n, 2): to the second, to the nearest
    rows = rows[far[:, 1] < _RATIO * far[:, 0]]
    return rows, nearest[rows]


class _Fit(NamedTuple):
    """A transform of reference to picture, (2, 3), and which of the pairs it explains."""

    cells: int
    transform: NDArray[np.float64]
    reference_points: NDArray[np.float32]
    rows: NDArray[np.intp]

    def moved(self, points: NDArray[Any]) -> NDArray[np.float64]:
        """Where points of the reference lie in the picture."""
        there: NDArray[np.float64] = points @ self.transform[:, :2].T + self.transform[:, 2]
        return there


def _aligned(here: NDArray[Any], there: NDArray[Any]) -> _Fit | None:
    """The similarity or affine transform that explains most distinct places.

    None where none is plausible: an unguarded fit agrees with unrelated pictures by shrinking one
    of them to a point, squeezing it to a line, or counting one place many times.
    """
    if len(here) < 4:
        return None
    import cv2

    best: _Fit | None = None
    for estimate in (cv2.estimateAffinePartial2D, cv2.estimateAffine2D):
        transform, mask = estimate(
            there, here, method=cv2.RANSAC, ransacReprojThreshold=_TOLERANCE,
            maxIters=2000, confidence=0.999,
        )  # fmt: skip
        if transform is None or np.linalg.det(transform[:, :2]) <= 0:
            continue
        large, small = np.linalg.svd(transform[:, :2], compute_uv=False)
        if not _SCALES[0] < small <= large < _SCALES[1] or large > 2 * small:
            continue
        kept = np.flatnonzero(mask)
        cells = min(_cells(here[kept]), _cells(there[kept]))
        if best is None or cells > best.cells:
            best = _Fit(cells, transform.astype(np.float64), there[kept], kept)
    return best


def _cells(places: NDArray[Any]) -> int:
    return len(np.unique((places // _CELL).astype(np.int32), axis=0))


def _hull_area(points: NDArray[Any]) -> float:
    import cv2

    return round(float(cv2.contourArea(cv2.convexHull(points.astype(np.float32)))), 4)


def _box(points: NDArray[Any]) -> NDArray[np.float64]:
    """(4, 2): the corners of the upright rectangle around the points."""
    (left, top), (right, bottom) = points.min(0), points.max(0)
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float64)


def _polygon(corners: NDArray[Any]) -> Polygon:
    return tuple((round(float(x), 1), round(float(y), 1)) for x, y in corners)
