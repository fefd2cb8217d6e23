"""The second look at a pair of pictures: what of one is in the other, where, and what was done."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from provenance.local.features import Features, inverted, mirrored
from provenance.local.fit import (
    SIDE,
    Fit,
    Pairs,
    bent,
    cells_of,
    fit,
    further,
    in_perspective,
    pairs_of,
)
from provenance.local.pixels import Resemblance, resemblance

Polygon = tuple[tuple[float, float], ...]


class Agreement(NamedTuple):
    """What speaks for a reference being in a picture: the more, the more likely.

    `cells` counts the distinct places that the transforms explain, `exact_cells` those that they
    have within a pixel and a half (of 512 a side), of a further transform those beyond the first
    ten: so many may be exact by choice. All else is 0..1. `share` is the share of
    the pairs of features that look alike which they explain; `overlap` that of the reference
    between these, where transforms overlap counted for each; `explained` that of the picture's
    features. Of the features that both could show by the best transform, whichever has fewer,
    `matched` is the share that it explains, `support` the share that has a similar feature at its
    place, and `within` that share between the explained ones. `likeness` is the mean cosine of the
    explained, `best_likeness` its upper quartile.
    """

    cells: int
    exact_cells: int
    share: float
    overlap: float
    explained: float
    matched: float
    support: float
    within: float
    likeness: float
    best_likeness: float
    pixels: Resemblance


class Region(NamedTuple):
    """Where a part lies: in pixels of the picture, and in pixels of the reference."""

    picture: Polygon
    reference: Polygon


@dataclass(frozen=True)
class Alignment:
    """What the second look found of a reference in a picture.

    `regions` has the upright rectangles around what was found in the reference and where these lie
    in the picture, best first. `covered` (0..1) is the share of the reference that lies between
    the places found, each part once. `edits` are words for what was done.
    """

    agreement: Agreement
    regions: tuple[Region, ...]
    edits: tuple[str, ...] = ()
    covered: float = 0.0


class _Seen(NamedTuple):
    """The two pictures as one orientation has them: points in pixels of the frames."""

    here: NDArray[np.float32]
    there: NDArray[np.float32]
    mine: NDArray[np.float32]
    theirs: NDArray[np.float32]
    rows: NDArray[np.float32]
    pairs: Pairs
    flip: bool
    negative: bool


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
    best: tuple[Fit, _Seen] | None = None
    mine, theirs = _frame(picture_size), _frame(reference_size)
    there = (reference.points * theirs).astype(np.float32)
    for flip in (False, True):
        points = picture.points * (-1, 1) + (1, 0) if flip else picture.points
        here = (points * mine).astype(np.float32)
        rows = mirrored(picture.descriptors) if flip else picture.descriptors
        for negative in (False, True):
            asked = inverted(rows) if negative else rows
            pairs = pairs_of(asked, reference.descriptors)
            found = fit(here[pairs[0]], there[pairs[1]])
            if found and (best is None or found.cells > best[0].cells):
                best = found, _Seen(here, there, mine, theirs, asked, pairs, flip, negative)
    if best is None:
        return None
    found, seen = best
    paired = seen.here[seen.pairs[0]], there[seen.pairs[1]]
    found = in_perspective(*paired, found)
    fits = [found, *further(*paired, found)]
    if len(fits) > 1 and (smooth := bent(*paired, fits)):
        fits = [smooth]
    return Alignment(
        _agreement(fits, seen, picture, reference),
        tuple(_region(each, seen, picture_size, reference_size) for each in fits),
        _edits(fits[0], seen, picture, reference),
        _covered([each.reference_points / seen.theirs for each in fits]),
    )


def _agreement(fits: list[Fit], seen: _Seen, picture: Features, reference: Features) -> Agreement:
    found, pairs = fits[0], seen.pairs
    mine, theirs = pairs[0][found.rows], pairs[1][found.rows]
    moved = found.moved(seen.there)
    cosines = (seen.rows[mine] * reference.descriptors[theirs]).sum(1)
    apart = np.linalg.norm(seen.here[:, None] - moved[None], axis=2) / max(1.0, found.scale)
    exact, *more = (_exact_cells(each, seen) for each in fits)
    partners = (apart < _NEAR) & (seen.rows @ reference.descriptors.T > _SIMILAR)
    both = min(_inside(moved, seen.mine), _inside(found.moved_back(seen.here), seen.theirs))
    both = max(both, _FEW)
    between = _between(seen.there, found.reference_points)
    tiny = picture.tiny[:, ::-1] if seen.flip else picture.tiny
    cells = sum(each.cells for each in fits)
    return Agreement(
        cells=cells,
        exact_cells=exact + sum(max(0, cells - _FEW) for cells in more),
        share=_rounded(sum(len(each.rows) for each in fits) / len(pairs[0])),
        overlap=_rounded(sum(_hull_area(each.reference_points / seen.theirs) for each in fits)),
        explained=_rounded(cells / len(picture)),
        matched=_rounded(found.cells / both),
        support=_rounded(min(partners.any(0).sum(), partners.any(1).sum()) / both),
        within=_rounded(partners[:, between].any(0).sum() / max(between.sum(), _FEW / 2)),
        likeness=_rounded(cosines.mean()),
        best_likeness=_rounded(np.quantile(cosines, 0.75)),
        pixels=resemblance(
            tiny, seen.mine, reference.tiny, seen.theirs, found, negative=seen.negative
        ),
    )


def _exact_cells(found: Fit, seen: _Seen) -> int:
    here, there = seen.here[seen.pairs[0][found.rows]], seen.there[seen.pairs[1][found.rows]]
    exact = np.linalg.norm(here - found.moved(there), axis=1) < _EXACT * max(1.0, found.scale)
    return cells_of(here[exact], there[exact])


ALIGNED = 6  # cells from which two pictures count as aligned
_NEAR = 5.0  # pixels within which a feature is at its place
_EXACT = 1.5  # pixels within which it is where the same pixels would be
_SIMILAR = 0.8  # cosine from which features are similar
_FEW = 10  # features, or places: a share of fewer says nothing


def _rounded(share: float) -> float:
    """0..1, to four digits."""
    return round(min(1.0, float(share)), 4)


def _inside(points: NDArray[Any], frame: NDArray[np.float32]) -> int:
    return int(((points > 0) & (points < frame)).all(1).sum())


def _between(points: NDArray[np.float32], explained: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which points lie in the convex hull of the explained ones."""
    import cv2

    hull = cv2.convexHull(explained)
    tests = (cv2.pointPolygonTest(hull, (float(x), float(y)), False) for x, y in points)
    return np.array([test >= 0 for test in tests], np.bool_)


def _region(
    found: Fit, seen: _Seen, picture_size: tuple[int, int], reference_size: tuple[int, int]
) -> Region:
    box = _box(found.reference_points)
    corners = found.moved(box) / seen.mine
    corners = corners * (-1, 1) + (1, 0) if seen.flip else corners
    return Region(_polygon(corners * picture_size), _polygon(box / seen.theirs * reference_size))


def _edits(found: Fit, seen: _Seen, picture: Features, reference: Features) -> tuple[str, ...]:
    """Words for what was done to the reference."""
    return (
        *("mirrored",) * seen.flip,
        *("negative",) * seen.negative,
        *_moves(found._replace(bend=None), seen.mine, seen.theirs),
        *("warped",) * (found.bend is not None),
        *(() if seen.negative else _recoloured(picture, reference, seen.pairs, found)),
        *("covered in part",) * _is_covered(found, seen),
    )


def _moves(found: Fit, mine: NDArray[np.float32], theirs: NDArray[np.float32]) -> tuple[str, ...]:
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
    picture: Features, reference: Features, pairs: Pairs, found: Fit
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
_GRID = 256  # a side, on which areas are counted
_NEARBY = 32.0  # pixels: where a bend that no affine transform explains may take a place


def _is_covered(found: Fit, seen: _Seen) -> bool:
    """Whether parts of the reference that lie in the picture have features, but none that agree.

    By features of the reference elsewhere, the chance of each of these parts is under 1 %.
    """
    here, there, pairs = seen.here, seen.there, seen.pairs
    moved = found.moved(there)
    inside = ((moved > 0) & (moved < seen.mine)).all(1)
    patches = (there / (there.max(0) + 1e-3) * _PATCHES).astype(np.intp) @ np.array([1, _PATCHES])
    agree = np.zeros(len(there), np.bool_)
    off = np.linalg.norm(moved[pairs[1]] - here[pairs[0]], axis=1)
    agree[pairs[1][off < _NEARBY]] = True
    held = np.bincount(patches[inside], minlength=_PATCHES**2)
    agreeing = np.bincount(patches[inside & agree], minlength=_PATCHES**2)
    missed = 1 - agreeing.sum() / max(1, held[agreeing > 0].sum())
    return bool((missed ** held[agreeing == 0] < 0.01).sum() >= 2)


def _frame(size: tuple[int, int]) -> NDArray[np.float32]:
    return np.array(size, np.float32) * (SIDE / max(size))


def _hull_area(points: NDArray[Any]) -> float:
    import cv2

    return round(float(cv2.contourArea(cv2.convexHull(points.astype(np.float32)))), 4)


def _covered(parts: list[NDArray[Any]]) -> float:
    """The share of the unit square that lies in the hull of any of these sets of points."""
    import cv2

    mask = np.zeros((_GRID, _GRID), np.uint8)
    for points in parts:
        hull = cv2.convexHull((points * (_GRID - 1)).round().astype(np.int32))
        cv2.fillConvexPoly(mask, hull, 1)
    return _rounded(mask.mean())


def _box(points: NDArray[Any]) -> NDArray[np.float64]:
    """(4, 2): the corners of the upright rectangle around the points."""
    (left, top), (right, bottom) = points.min(0), points.max(0)
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float64)


def _polygon(corners: NDArray[Any]) -> Polygon:
    return tuple((round(float(x), 1), round(float(y), 1)) for x, y in corners)
