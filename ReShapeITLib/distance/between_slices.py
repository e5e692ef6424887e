"""An organ of which some slices are annotated, and its distance between them.

The first family of parallel planes is interpolated. What was drawn on planes of other families corrects that in
proportion to the nearness (Shepard, ACM 1968), and drawn marks that are no cross-sections pull it outwards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from ..core.geometry import ImageGeometry
from .combinators import Corrected
from .drawn_planes import Planes, read_drawing
from .protocol import SignedDistance
from .surface import DistanceGrid

_ROOM_MM = 15.0  # around the contours within a slice
_BAND_MM = 6.0  # around the contours, in which a field is corrected
_LEAST_SLOPE = 0.2
_ON_PLANE_MM2 = 1e-6  # square of a way that counts as none
_INSIDE_SHARE = 0.1  # of a voxel: how deep a mark lies inside at least


@dataclass(frozen=True, eq=False)
class SparseAnnotation:
    """An organ segmented on some slices of an image only.

    Args:
        geometry: of the part of the image around the organ, with room beyond the outermost slices.
        axis: of (K, J, I) arrays, across which the slices of the first family lie.
        slices: numbers of the annotated ones in that part, rising.
        distance: between the slices as in :func:`distance_between_slices`, RAS mm; on all annotated planes the
            distance to the contour within the plane.
        others: planes across the other axes.
        marks: (K, J, I) bool, what was drawn beside all the planes: inside, and the rest of its slices is unknown.
    """

    geometry: ImageGeometry
    axis: int
    slices: np.ndarray
    distance: DistanceGrid
    others: tuple[Planes, ...] = ()
    marks: np.ndarray | None = None

    @classmethod
    def of(cls, mask: np.ndarray, geometry: ImageGeometry) -> SparseAnnotation:
        """The planes of a (K, J, I) bool mask that hold cross-sections, and its other marks.

        Raises:
            BadInputError: the mask is empty, has one plane only, or no gap.
        """
        drawing = read_drawing(mask)
        axis, numbers = drawing.families[0].axis, drawing.families[0].numbers
        spacing_kji = geometry.spacing_mm[::-1]
        room = np.ceil(_ROOM_MM / spacing_kji).astype(int)
        if len(numbers) > 1:
            room[axis] = np.diff(numbers).max()
        (box,) = ndimage.find_objects(drawing.sections.astype(np.uint8))
        sections, marks = (np.pad(part[box], [(n, n) for n in room]) for part in (drawing.sections, drawing.marks))
        start = np.array([s.start for s in box]) - room
        around = geometry.cropped(start[::-1], sections.shape[::-1])
        first, *others = (planes.moved(start) for planes in drawing.families)
        distance = distance_between_slices(sections, axis, first.numbers, spacing_kji)
        known = cls(
            around, axis, first.numbers, DistanceGrid(distance, around), tuple(others), marks if marks.any() else None
        )

        def error(planes: Planes) -> np.ndarray:
            layers = np.moveaxis(sections, planes.axis, 0)[planes.numbers]
            within = np.delete(spacing_kji, planes.axis)
            contours = np.stack([distance_within_slice(layer, within) for layer in layers])
            return contours - np.moveaxis(distance, planes.axis, 0)[planes.numbers]

        distance = distance + known._from_others(error)
        distance = distance + known._pull(distance[marks])
        return replace(known, distance=DistanceGrid(distance.astype(np.float32), around))

    @property
    def families(self) -> tuple[Planes, ...]:
        """All annotated planes, those of the first family first."""
        return (Planes(self.axis, self.slices), *self.others)

    @property
    def gap_mm(self) -> float:
        """The widest way from an annotated slice of the first family to the next; from a single one to the organ's
        farther end, as planes across it show."""
        spacing_mm = float(self.geometry.spacing_mm[2 - self.axis])
        if len(self.slices) > 1:
            return float(np.diff(self.slices).max() * self.geometry.spacing_mm[2 - self.axis])
        inside = (self.distance.values_mm < 0).any(axis=tuple(a for a in range(3) if a != self.axis))
        return max(1.0, float(np.abs(np.flatnonzero(inside) - self.slices[0]).max())) * spacing_mm

    def known_at(self, points_ras: np.ndarray, within_mm: float) -> np.ndarray:
        """(N,) bool, which of (N, 3) RAS points lie as near as that to an annotated plane, or on a mark."""
        ijk = self.geometry.ras_to_ijk_points(points_ras)
        known = np.zeros(len(ijk), dtype=bool)
        for planes in self.families:
            axis_ijk = 2 - planes.axis
            known |= planes.layers_to(ijk[:, axis_ijk]) * self.geometry.spacing_mm[axis_ijk] <= within_mm
        if self.marks is not None:
            marked = ndimage.map_coordinates(self.marks.astype(np.uint8), ijk[:, ::-1].T, order=0, mode="constant")
            known |= marked > 0
        return known

    def through_contours(self, organ: SignedDistance) -> SignedDistance:
        """A distance bent so that it passes through the annotated contours and encloses the marks.

        Its error on the planes is taken off there, and off what lies between in proportion to the nearness.
        """
        layers = self.geometry.shape_kji[self.axis]
        spread = spread_from_slices(self._errors(organ, self.families[0]), self.slices, layers, 0.0)
        gap = self.gap_mm / self.geometry.spacing_mm[2 - self.axis]
        layer = np.arange(layers)
        beyond = np.maximum(np.maximum(self.slices[0] - layer, layer - self.slices[-1]), 0)
        spread *= np.clip(1.0 - beyond / gap, 0.0, 1.0).astype(np.float32)[:, None, None]
        correction = np.moveaxis(spread, 0, self.axis)
        bent = Corrected(organ, correction, self.geometry)
        correction = correction + self._from_others(lambda planes: self._errors(bent, planes))
        if self.marks is not None:
            points = self.geometry.ijk_to_ras_points(np.argwhere(self.marks)[:, ::-1])
            correction = correction + self._pull(organ.sdf_mm(points) + correction[self.marks])
        return Corrected(organ, correction.astype(np.float32, copy=False), self.geometry)

    def _errors(self, organ: SignedDistance, planes: Planes) -> np.ndarray:
        """What is to be added to the field on each of some annotated planes."""
        layers = np.moveaxis(self.distance.values_mm, planes.axis, 0)
        return np.stack([self._error(organ, layers[n], planes.axis, n) for n in planes.numbers])

    def _error(self, organ: SignedDistance, contour_mm: np.ndarray, axis: int, number: int) -> np.ndarray:
        """What is to be added to the field on an annotated slice."""
        kji = np.indices(contour_mm.shape).reshape(2, -1)
        kji = np.insert(kji, axis, number, axis=0)
        field = organ.sdf_mm(self.geometry.ijk_to_ras_points(kji[::-1].T)).reshape(contour_mm.shape)
        within = np.delete(self.geometry.spacing_mm[::-1], axis)
        # The way to the contour within the slice is longer than the way to the surface.
        slope = np.clip(np.linalg.norm(np.gradient(field, *within), axis=0), _LEAST_SLOPE, 1.0)
        error = slope * contour_mm - field
        # Far from the contour only what is on the wrong side has to change.
        share = np.clip(2.0 - np.abs(contour_mm) / _BAND_MM, 0.0, 1.0)
        return np.where((field < 0) != (contour_mm < 0), error, share * error).astype(np.float32)

    def _from_others(self, errors_on: Callable[[Planes], np.ndarray]) -> np.ndarray | np.float32:
        """(K, J, I) what is added so that the errors on the other families' planes go and the first one's stay zero."""
        if not self.others:
            return np.float32(0.0)
        nearness = [self._nearness(planes) for planes in self.families]
        total, shape = sum(nearness), self.geometry.shape_kji
        added = np.zeros(shape, dtype=np.float32)
        for planes, near in zip(self.others, nearness[1:], strict=True):
            spread = spread_from_slices(errors_on(planes), planes.numbers, shape[planes.axis], 0.0)
            added += (near / total * self._fade(planes) * np.moveaxis(spread, 0, planes.axis)).astype(np.float32)
        return added

    def _ways_mm(self, planes: Planes) -> np.ndarray:
        """(K, 1, 1), (1, J, 1) or (1, 1, I) way from each layer to the nearest plane of a family."""
        n_layers = self.geometry.shape_kji[planes.axis]
        ways = planes.layers_to(np.arange(n_layers)) * self.geometry.spacing_mm[2 - planes.axis]
        return ways.reshape([-1 if axis == planes.axis else 1 for axis in range(3)])

    def _nearness(self, planes: Planes) -> np.ndarray:
        return 1.0 / (self._ways_mm(planes) ** 2 + _ON_PLANE_MM2)

    def _fade(self, planes: Planes) -> np.ndarray:
        """From 1 on a family's planes to 0 at the border of the grid, beyond which nothing is added."""
        n_layers = self.geometry.shape_kji[planes.axis]
        reach = max(1.0, float(max(planes.numbers[0], n_layers - 1 - planes.numbers[-1])))
        reach *= self.geometry.spacing_mm[2 - planes.axis]
        return np.clip(1.0 - self._ways_mm(planes) / reach, 0.0, 1.0)

    def _pull(self, at_marks_mm: np.ndarray) -> np.ndarray | np.float32:
        """(K, J, I) what is added so that all marks lie inside; nothing on the annotated planes.

        Args:
            at_marks_mm: the distance at the marked voxels, in their order.
        """
        depth = _INSIDE_SHARE * float(self.geometry.spacing_mm.min())
        if self.marks is None or not (at_marks_mm > -depth).any():
            return np.float32(0.0)
        need = np.zeros(self.marks.shape, dtype=np.float32)
        need[self.marks] = np.minimum(0.0, -depth - at_marks_mm)
        spacing_kji = self.geometry.spacing_mm[::-1]
        way, nearest = ndimage.distance_transform_edt(need == 0, spacing_kji, return_indices=True)
        pull = np.clip(1.0 - way / _BAND_MM, 0.0, 1.0) * need[tuple(nearest)]
        for planes in self.families:
            pull[planes.voxels(pull.shape)] = 0.0
        return pull.astype(np.float32)


def annotated_slices(mask: np.ndarray) -> tuple[int, np.ndarray]:
    """The axis of a (K, J, I) bool mask across which the slices of its first family lie, and their numbers.

    Raises:
        BadInputError: the mask is empty, has one plane only, or no empty slice between annotated ones.
    """
    first = read_drawing(mask).families[0]
    return first.axis, first.numbers


def distance_between_slices(mask: np.ndarray, axis: int, slices: np.ndarray, spacing_kji: np.ndarray) -> np.ndarray:
    """(K, J, I) float32 distance, negative inside, of an organ known on some slices: shape-based interpolation.

    On an annotated slice it is the distance to the contour within that slice; between two slices it is blended linearly
    (Raya and Udupa, IEEE TMI 1990); beyond the outermost ones it grows by the way to them, which closes the organ.

    Args:
        mask: (K, J, I) bool.
        axis: across which the slices lie.
        slices: numbers of the annotated ones, rising; each has voxels of the organ.
        spacing_kji: of the voxels; the result has its unit.
    """
    layers = np.moveaxis(mask, axis, 0)
    within = np.delete(np.asarray(spacing_kji, dtype=float), axis)
    known = np.stack([distance_within_slice(layers[index], within) for index in slices])
    return np.ascontiguousarray(np.moveaxis(spread_from_slices(known, slices, len(layers), spacing_kji[axis]), 0, axis))


def spread_from_slices(known: np.ndarray, slices: np.ndarray, n_layers: int, rise: float) -> np.ndarray:
    """(n_layers, ...) float32 values from those on some layers: linear between, rising by ``rise`` a layer beyond."""
    layer = np.arange(n_layers)
    last = len(slices) - 1
    after = np.clip(np.searchsorted(slices, layer), min(1, last), last)
    before = np.maximum(after - 1, 0)
    lower, upper = slices[before], slices[after]
    share = np.clip((layer - lower) / np.maximum(upper - lower, 1), 0.0, 1.0).astype(np.float32)
    beyond = np.maximum(np.maximum(slices[0] - layer, layer - slices[-1]), 0).astype(np.float32) * np.float32(rise)
    shape = (-1,) + (1,) * (known.ndim - 1)
    share, beyond = share.reshape(shape), beyond.reshape(shape)
    return ((1 - share) * known[before] + share * known[after] + beyond).astype(np.float32)


def distance_within_slice(layer: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """2D float32 distance, negative inside, to the contour of a 2D mask, half a pixel before the centres of the other
    side; in the unit of ``spacing`` (2,), the pixels' edges."""
    half = 0.5 * float(np.mean(spacing))
    # Of long pixels half a pixel may be more than the way across: the sign stays.
    least = _INSIDE_SHARE * float(np.min(spacing))
    # A wall of background: an organ that fills the slice has a contour, too.
    layer = np.pad(layer, 1)
    outside = ndimage.distance_transform_edt(~layer, sampling=spacing)
    inside = ndimage.distance_transform_edt(layer, sampling=spacing)
    distance = np.where(layer, -np.maximum(inside - half, least), np.maximum(outside - half, least))
    return distance[1:-1, 1:-1].astype(np.float32)
