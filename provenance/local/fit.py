"""Pairs of features that look alike, and the transforms that explain many of them at once.

Points in, transforms out; knows nothing of pictures.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Pairs = tuple[NDArray[np.intp], NDArray[np.intp]]
"""Row numbers of features of the picture and of the reference that belong together."""

SIDE = 512.0  # pixels a side of the frames in which points are told
_RATIO = 0.8  # Lowe's ratio test
_TOLERANCE = 4.0  # pixels
_SCALES = (0.1, 8.0)  # of one picture in the other
_CELL = 6.0  # pixels: features of one place count once
_REGIONS = 4  # of a reference that are looked for in a picture, at most
_FURTHER = 8  # cells that a further region takes


def pairs_of(a: NDArray[Any], b: NDArray[Any]) -> Pairs:
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


class Fit(NamedTuple):
    """A transform of reference to picture, and which of the pairs it explains.

    `cells` counts the distinct places that it explains, in the picture and in the reference,
    whichever are fewer. `transform` (2, 3) is affine; `homography` (3, 3) is the same, or the
    perspective that explains it much better. Where there is a `bend`, points are moved by that.
    """

    cells: int
    transform: NDArray[np.float64]
    reference_points: NDArray[np.float32]
    rows: NDArray[np.intp]
    homography: NDArray[np.float64]
    bend: "Bend | None" = None

    @property
    def scale(self) -> float:
        """Pixels of the picture for one of the reference."""
        return float(np.sqrt(np.linalg.det(self.transform[:, :2])))

    def moved(self, points: NDArray[Any]) -> NDArray[np.float64]:
        """Where points of the reference lie in the picture."""
        if self.bend:
            return _terms(points) @ self.bend.onward
        return _projected(self.homography, points)

    def moved_back(self, points: NDArray[Any]) -> NDArray[np.float64]:
        """Where points of the picture lie in the reference."""
        if self.bend:
            return _terms(points) @ self.bend.back
        return _projected(np.linalg.inv(self.homography), points)


class Bend(NamedTuple):
    """Cubic polynomials of x and y, (terms, 2): reference to picture, and back."""

    onward: NDArray[np.float64]
    back: NDArray[np.float64]


def fit(here: NDArray[Any], there: NDArray[Any]) -> Fit | None:
    """The similarity or affine transform that explains most distinct places.

    None where none is plausible: an unguarded fit agrees with unrelated pictures by shrinking one
    of them to a point, squeezing it to a line, or counting one place many times.
    """
    if len(here) < 4:
        return None
    import cv2

    best: Fit | None = None
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
        cells = cells_of(here[kept], there[kept])
        if best is None or cells > best.cells:
            whole = np.vstack([transform, [0.0, 0.0, 1.0]])
            best = Fit(cells, transform.astype(np.float64), there[kept], kept, whole)
    return best


def in_perspective(here: NDArray[Any], there: NDArray[Any], found: Fit) -> Fit:
    """The homography near `found` that fits as many far better, or `found` where there is none."""
    import cv2

    near = np.linalg.norm(found.moved(there) - here, axis=1) < _BENT
    if near.sum() < _FURTHER:
        return found
    rows = np.flatnonzero(near)
    homography, mask = cv2.findHomography(there[rows], here[rows], cv2.RANSAC, _TOLERANCE)
    if homography is None or np.linalg.det(homography) < _SCALES[0] ** 3:  # folded, or mirrored
        return found
    kept = rows[mask.ravel() > 0]
    cells = cells_of(here[kept], there[kept])
    corners = np.array([[0, 0], [SIDE, 0], [SIDE, SIDE], [0, SIDE]]) * _within(there)
    depth = corners @ homography[2, :2] + homography[2, 2]
    bent = Fit(cells, found.transform, there[kept], kept, homography.astype(np.float64))
    nearer = _error(bent, here, there) < _MUCH_NEARER * _error(found, here, there)
    if cells < found.cells or not nearer or (depth < _LEAST_DEPTH * depth.max()).any():
        return found
    return bent


_BENT = 48.0  # pixels by which perspective may move what the affine transform has elsewhere
_MUCH_NEARER = 0.7  # of the error, under which perspective is worth its two degrees of freedom
_LEAST_DEPTH = 0.3  # of the farthest corner: what lies behind the eye is no picture


def further(here: NDArray[Any], there: NDArray[Any], first: Fit) -> list[Fit]:
    """Transforms that explain many of the pairs which those before them leave over.

    A reference that was cut to pieces, or that is in a picture twice, has several.
    """
    found: list[Fit] = []
    left = np.setdiff1d(np.arange(len(here)), first.rows)
    while len(left) >= _FURTHER and len(found) + 1 < _REGIONS:
        more = fit(here[left], there[left])
        if more is None or more.cells < _FURTHER:
            break
        found.append(more._replace(rows=left[more.rows]))
        left = np.setdiff1d(left, found[-1].rows)
    return found


def bent(here: NDArray[Any], there: NDArray[Any], fits: Sequence[Fit]) -> Fit | None:
    """One smooth transform that explains as many places as all of these do, each a part of them.

    None where there is none, where it explains few places, or not nearly all pairs: a second
    photograph of the same things bends too, but never so. Pictures are bent by a lens, on paper
    that is not flat, by a warp; the pieces of a reference that was cut are not.
    """
    rows = np.unique(np.concatenate([each.rows for each in fits]))
    for _ in range(_ROUNDS):
        if len(rows) < max(_SMOOTH, _MOST * len(here)):
            return None
        onward, back = _cubic(there[rows], here[rows]), _cubic(here[rows], there[rows])
        near = np.linalg.norm(_terms(there) @ onward - here, axis=1) < _TOLERANCE
        if np.array_equal(rows, kept := np.flatnonzero(near)):
            break
        rows = kept
    cells = cells_of(here[rows], there[rows])
    if len(rows) < _MOST * len(here) or cells < max(_SMOOTH, sum(each.cells for each in fits)):
        return None
    return fits[0]._replace(
        cells=cells, rows=rows, reference_points=there[rows], bend=Bend(onward, back)
    )


_SMOOTH = 90  # places that a bend takes
_MOST = 0.88  # of the pairs
_ROUNDS = 4  # in which what it explains settles
_STIFF = 1e-3  # how much straighter it is than the pairs would have it


def _cubic(points: NDArray[Any], to: NDArray[Any]) -> NDArray[np.float64]:
    """(terms, 2) of least squares, all but the affine ones held back a little."""
    terms = _terms(points)
    ridge = np.diag([0.0] * 3 + [_STIFF * len(points)] * (terms.shape[1] - 3))
    found: NDArray[np.float64] = np.linalg.solve(terms.T @ terms + ridge, terms.T @ to)
    return found


def _terms(points: NDArray[Any]) -> NDArray[np.float64]:
    """(…, 10): the products of x and y up to the third degree, of a frame that is -1..1."""
    x, y = np.moveaxis(np.asarray(points, np.float64) / (SIDE / 2) - 1, -1, 0)
    one = np.ones_like(x)
    return np.stack([one, x, y, x * x, x * y, y * y, x**3, x * x * y, x * y * y, y**3], -1)


def _within(points: NDArray[Any]) -> NDArray[Any]:
    """(2,): the sides of the frame that the points fill, as shares of SIDE."""
    shares: NDArray[Any] = points.max(0) / SIDE
    return shares


def _projected(homography: NDArray[Any], points: NDArray[Any]) -> NDArray[np.float64]:
    moved = points @ homography[:, :2].T + homography[:, 2]
    depth = moved[..., 2:]
    there: NDArray[np.float64] = moved[..., :2] / np.where(np.abs(depth) > 1e-6, depth, 1e-6)
    return there


def _error(found: Fit, here: NDArray[Any], there: NDArray[Any]) -> float:
    """Pixels, root of the mean square, by which what is explained is off."""
    off = found.moved(there[found.rows]) - here[found.rows]
    return float(np.sqrt((off**2).sum(1).mean()))


def cells_of(here: NDArray[Any], there: NDArray[Any]) -> int:
    """How many distinct places pairs of points have, here and there, whichever are fewer."""
    return min(len(np.unique((p // _CELL).astype(np.int32), axis=0)) for p in (here, there))
