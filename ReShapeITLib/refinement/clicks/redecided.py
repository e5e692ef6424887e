"""Another choice of suggestions, at once: only where suggestions changed sides the organ is worked out again."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from ...core.geometry import ImageGeometry
from ...distance.combinators import BlendedField, Difference
from ...distance.narrow_band import label_mask
from ...distance.protocol import Box, SignedDistance, box_around
from ...distance.surface import DistanceGrid
from ..decision.suggestions import APART, Suggestions
from ..refine import with_suggestions
from ..refined import RefinedShape
from ..several_organs.agreement import Region

_ROOM_CELLS = 3  # around cells that changed sides; the transition is two cells wide


@dataclass(frozen=True, eq=False)
class Edit:
    """An organ after decisions, and where it may differ from before.

    Args:
        shape: the organ.
        boxes: RAS mm; outside them the organ is as it was.
    """

    shape: RefinedShape
    boxes: tuple[Box, ...] = ()

    def and_then(self, shape: RefinedShape, *boxes: Box) -> Edit:
        """A further change."""
        return Edit(shape, (*self.boxes, *boxes))

    def mask(self, before: np.ndarray, geometry: ImageGeometry) -> np.ndarray:
        """(K, J, I) bool voxels, made of those before the edit; the organ is asked within the boxes alone."""
        mask = before.copy()
        for lower, upper in self.boxes:
            box = geometry.box_around((lower, upper))
            if mask[box].size:
                mask[box] = label_mask(self.shape.sdf_mm, geometry.of_box(box), (lower, upper))
        return mask


@dataclass(frozen=True, eq=False)
class _Moved(BlendedField):
    """The organ before, and another one where suggestions changed sides; each is asked only where it has a say.

    The organ before may ask a fitted field, which takes most of the time of a large suggestion.
    """

    def sdf_mm(self, points_ras: np.ndarray) -> np.ndarray:
        """(N,) signed distance at RAS points."""
        points_ras = np.asarray(points_ras)
        weight = self.weight_at(points_ras)
        values = np.zeros(len(points_ras))
        for organ, share in ((self.given, 1.0 - weight), (self.expected, weight)):
            asked = share > 0.0
            if asked.any():
                values[asked] += share[asked] * organ.sdf_mm(points_ras[asked])
        return values


def redecided(edit: Edit, taken: Collection[int]) -> Edit:
    """The organ with another choice of its suggestions; what image, neighbours and points made of the rest stays.

    Raises:
        BadInputError: a number is none of a suggestion's.
    """
    shape, chosen = edit.shape, frozenset(taken)
    found = shape.suggestions
    if chosen == shape.taken or found is None:
        return edit
    moved = chosen ^ shape.taken
    truncation = shape.decided.expected.restored.truncation
    if not moved <= {entry.number for entry in found.entries} or (truncation is not None and truncation.n_faces):
        other = with_suggestions(shape, chosen)
        whole = box_around(shape.bounds_ras, other.bounds_ras)
        return edit.and_then(replace(other, bounds_ras=whole), whole)
    field = replace(shape.decided.field, weight=found.weight(chosen))
    distance: SignedDistance = _Moved(shape.distance, field, found.weight(moved))
    distance = _without_left_overs(distance, shape, found, moved & chosen)
    boxes = [_box_of(found, number) for number in moved]
    again = _with_taken(shape, chosen)
    bounds = box_around(shape.bounds_ras, *boxes)
    return edit.and_then(replace(again, distance=distance, field=field, bounds_ras=bounds), *boxes)


def prepared(shape: RefinedShape) -> RefinedShape:
    """The organ with what is expected in its suggestions on the network's grid, so that choices take milliseconds."""
    found = shape.suggestions
    if found is None or not found.entries:
        return shape
    grid, field = shape.decided.expected.healed.restoration.restored, shape.decided.field
    near = ndimage.binary_dilation(found.regions > 0, iterations=_ROOM_CELLS)
    values = grid.values_mm.copy()
    values[near] = field.expected.sdf_mm(grid.geometry.ijk_to_ras_points(np.argwhere(near)[:, ::-1]))
    field = replace(field, expected=DistanceGrid(values, grid.geometry))
    return replace(shape, decided=replace(shape.decided, field=field))


def _with_taken(shape: RefinedShape, taken: frozenset[int]) -> RefinedShape:
    expected = shape.decided.expected
    expected = replace(expected, healed=replace(expected.healed, taken=taken))
    return replace(shape, decided=replace(shape.decided, expected=expected))


def _box_of(found: Suggestions, number: int) -> Box:
    """Box in RAS mm around a suggestion's region and the transition beside it."""
    geometry = found.geometry
    cells = np.argwhere(found.regions == number)[:, ::-1]
    lower, upper = cells.min(axis=0) - _ROOM_CELLS, cells.max(axis=0) + _ROOM_CELLS
    corners = np.array(np.meshgrid(*zip(lower, upper, strict=True))).reshape(3, -1).T
    corners_ras = geometry.ijk_to_ras_points(corners)
    return corners_ras.min(axis=0), corners_ras.max(axis=0)


def _without_left_overs(
    distance: SignedDistance, shape: RefinedShape, found: Suggestions, removed: Collection[int]
) -> SignedDistance:
    """The organ without what is left of components apart that suggestions mostly remove."""
    given = shape.decided.given
    for entry in found.entries:
        if entry.number not in removed or entry.kind != APART:
            continue
        box = given.geometry.box_around(_box_of(found, entry.number))
        part = given.geometry.of_box(box)
        pieces, _ = ndimage.label(given.kept[box], structure=np.ones((3, 3, 3)))
        touched = _touched(pieces, part, found, entry.number)
        where = np.argwhere(np.isin(pieces, touched) & (pieces > 0))
        if not len(where):
            continue
        left = distance.sdf_mm(part.ijk_to_ras_points(where[:, ::-1])) < 0
        if 0 < np.count_nonzero(left) < 0.5 * len(where):
            over = np.zeros(pieces.shape, dtype=bool)
            over[tuple(where[left].T)] = True
            distance = Difference(distance, Region(over, part))
    return distance


def _touched(pieces: np.ndarray, part: ImageGeometry, found: Suggestions, number: int) -> np.ndarray:
    """Numbers of the pieces in which a suggestion's cells lie."""
    cells = np.argwhere(found.regions == number)[:, ::-1]
    ijk = np.rint(part.ras_to_ijk_points(found.geometry.ijk_to_ras_points(cells))).astype(int)
    kji = ijk[((ijk >= 0) & (ijk < part.size_ijk)).all(axis=1)][:, ::-1]
    at = np.unique(pieces[tuple(kji.T)])
    return at[at > 0]
