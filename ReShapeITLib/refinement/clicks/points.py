"""Points that are organ and points that are not: hard evidence, from which the organ around them is expected again.

A point in a suggestion decides the suggestion. Elsewhere it makes one of the kind ``clicked``: the organ's signed
distance is conditioned on its value at the point, with a correlation that falls with the way from there, which is
longer across the image's edges (:mod:`nearby`). Only the piece of the change that holds the point is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ...core.errors import BadInputError
from ...distance.combinators import Corrected
from ...distance.protocol import box_around
from ..decision.suggestions import APART, ATTACHED, Suggestion
from ..refined import Point, RefinedShape
from .nearby import Change, change_at
from .redecided import Edit, redecided

if TYPE_CHECKING:
    from ...image.band import Image

CLICKED = "clicked"
FARTHEST_MM = 60.0  # from the organ; no click means an organ that ends so far away
_NEAREST_MM = 1.0  # between a point that is organ and one that is not
_LEAST_DEPTH_MM, _MOST_DEPTH_MM = 0.5, 3.5


def with_points(
    shape: RefinedShape,
    include: Sequence[Point] | np.ndarray = (),
    exclude: Sequence[Point] | np.ndarray = (),
    image: Image | None = None,
) -> RefinedShape:
    """The organ with points inside and outside of it; points that it was given before keep their sides.

    Args:
        shape: what ``refine`` gave, or this function.
        include, exclude: (N, 3) RAS mm, points of the organ and points that are not; a stroke is several points.
        image: that was segmented, of any grid and modality: the change ends at its edges.

    Raises:
        BadInputError: points contradict each other, or are farther from the organ than ``FARTHEST_MM``.
    """
    return edited(Edit(shape), include, exclude, image).shape


def edited(
    edit: Edit,
    include: Sequence[Point] | np.ndarray,
    exclude: Sequence[Point] | np.ndarray,
    image: Image | None = None,
) -> Edit:
    """The same, with the boxes in which the organ changed; arguments and errors as of :func:`with_points`."""
    inside, outside = _points(include), _points(exclude)
    shape = edit.shape
    _check(shape, inside, outside)
    shape = replace(shape, included=(*shape.included, *inside), excluded=(*shape.excluded, *outside))
    edit = edit.and_then(shape)
    for point, sign in [*((p, -1.0) for p in inside), *((p, 1.0) for p in outside)]:
        edit = _with_point(edit, point, sign, image)
    return _all_kept(edit, image)


def depth_mm(shape: RefinedShape) -> float:
    """How deep inside or outside a point must lie, so that the voxel around it is on the same side."""
    if shape.decided is None:
        return _LEAST_DEPTH_MM
    half_diagonal = 0.5 * float(np.linalg.norm(shape.decided.given.image.spacing_mm))
    return float(np.clip(half_diagonal, _LEAST_DEPTH_MM, _MOST_DEPTH_MM))


def _with_point(edit: Edit, point: Point, sign: float, image: Image | None) -> Edit:
    shape = edit.shape
    if _is_kept(shape, point, sign):
        return edit
    number = _suggestion_at(shape, point)
    if number is not None:
        entry = next(e for e in shape.suggestions.entries if e.number == number)
        adds = entry.kind not in (ATTACHED, APART)
        edit = redecided(edit, shape.taken | {number} if adds == (sign < 0) else shape.taken - {number})
        if _is_kept(edit.shape, point, sign):
            return edit
    change = change_at(edit.shape, point, sign, depth_mm(shape), _pinned(shape, point), image)
    return _changed(edit, change, point)


def _all_kept(edit: Edit, image: Image | None) -> Edit:
    """Where a later point moved an earlier one to the other side: once more, as little as that takes."""
    for _ in range(2):
        shape = edit.shape
        points = [*((p, -1.0) for p in shape.included), *((p, 1.0) for p in shape.excluded)]
        for point, sign in [(p, s) for p, s in points if not _is_kept(shape, p, s)]:
            pinned = _pinned(shape, point)
            change = change_at(edit.shape, point, sign, depth_mm(shape), pinned, image, as_little=True)
            edit = _changed(edit, change, None)
    return edit


def _changed(edit: Edit, change: Change, point: Point | None) -> Edit:
    shape = edit.shape
    distance = Corrected(shape.distance, change.correction_mm, change.geometry)
    bounds = box_around(shape.bounds_ras, change.grown_ras) if change.grown_ras else shape.bounds_ras
    clicked = shape.clicked
    if point is not None:
        known = shape.suggestions.entries if shape.suggestions else ()
        number = 1 + max([entry.number for entry in (*known, *clicked)], default=0)
        evidence = {"points": 1.0 if point in shape.included else -1.0}
        entry = Suggestion(number, CLICKED, change.volume_ml, point, change.extent_mm, evidence, 1.0)
        clicked = (*clicked, entry)
    return edit.and_then(replace(shape, distance=distance, bounds_ras=bounds, clicked=clicked), change.box_ras)


def _is_kept(shape: RefinedShape, point: Point, sign: float) -> bool:
    return bool(sign * shape.sdf_mm(np.array([point]))[0] >= 0.99 * depth_mm(shape))


def _suggestion_at(shape: RefinedShape, point: Point) -> int | None:
    """Number of the suggestion whose region holds a point."""
    if shape.suggestions is None:
        return None
    regions = shape.suggestions.regions
    cell = np.rint(shape.suggestions.geometry.ras_to_ijk_points(np.array([point]))[0]).astype(int)[::-1]
    if (cell < 0).any() or (cell >= regions.shape).any():
        return None
    return int(regions[tuple(cell)]) or None


def _pinned(shape: RefinedShape, point: Point) -> list[tuple[Point, float]]:
    """The other points, each with its sign."""
    points = [(p, -1.0) for p in shape.included] + [(p, 1.0) for p in shape.excluded]
    return [(p, sign) for p, sign in points if p != point]


def _points(values: Sequence[Point] | np.ndarray) -> list[Point]:
    points = np.asarray(values, dtype=np.float64).reshape(-1, 3)
    if not np.isfinite(points).all():
        words, hint = "A point has a coordinate that is not finite", "give r, a and s in mm"
        raise BadInputError(words, hint, "points.broken")
    return [(float(r), float(a), float(s)) for r, a, s in points]


def _check(shape: RefinedShape, inside: list[Point], outside: list[Point]) -> None:
    """Complain about points that cannot all be right."""
    belong, do_not = np.array([*shape.included, *inside]), np.array([*shape.excluded, *outside])
    if len(belong) and len(do_not):
        apart = np.linalg.norm(belong[:, None] - do_not[None], axis=-1)
        if apart.min() < _NEAREST_MM:
            at = belong[np.unravel_index(apart.argmin(), apart.shape)[0]]
            words, hint = "The point {point} is both organ and not", "remove one of the two"
            raise BadInputError(words, hint, "points.contradict", point=_told(at))
    if inside:
        away = shape.sdf_mm(np.array(inside))
        if away.max() > FARTHEST_MM:
            words = "The point {point} lies {distance_mm} mm outside the organ"
            hint = "set it nearer to the organ, or choose the segment that it belongs to"
            told = {"point": _told(inside[int(away.argmax())]), "distance_mm": round(float(away.max()))}
            raise BadInputError(words, hint, "points.far", **told)


def _told(point: np.ndarray | Point) -> str:
    return "({:.1f}, {:.1f}, {:.1f})".format(*point)
