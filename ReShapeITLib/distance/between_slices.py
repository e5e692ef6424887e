"""An organ of which some parallel slices are annotated, and its distance between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..core.errors import BadInputError
from ..core.geometry import ImageGeometry
from .combinators import Corrected
from .protocol import SignedDistance
from .surface import DistanceGrid

FEWEST_SLICES = 2
_ROOM_MM = 15.0  # around the contours within a slice
_BAND_MM = 6.0  # around the contours, in which a field is corrected
_LEAST_SLOPE = 0.2


@dataclass(frozen=True, eq=False)
class SparseAnnotation:
    """An organ segmented on some parallel slices of an image only.

    Args:
        geometry: of the part of the image around the organ, with room beyond the outermost slices.
        axis: of (K, J, I) arrays, across which the slices lie.
        slices: numbers of the annotated ones in that part, rising.
        distance: between the slices as in :func:`distance_between_slices`, RAS mm.
    """

    geometry: ImageGeometry
    axis: int
    slices: np.ndarray
    distance: DistanceGrid

    @classmethod
    def of(cls, mask: np.ndarray, geometry: ImageGeometry) -> SparseAnnotation:
        """The slices of a (K, J, I) bool mask that are not empty.

        Raises:
            BadInputError: the mask is empty, or has one slice only, or no gap.
        """
        axis, slices = annotated_slices(mask)
        spacing_kji = geometry.spacing_mm[::-1]
        room = np.ceil(_ROOM_MM / spacing_kji).astype(int)
        room[axis] = np.diff(slices).max()
        (box,) = ndimage.find_objects(mask.astype(np.uint8))
        part = np.pad(mask[box], [(n, n) for n in room])
        start = np.array([s.start for s in box]) - room
        around = geometry.cropped(start[::-1], part.shape[::-1])
        slices = slices - start[axis]
        distance = distance_between_slices(part, axis, slices, spacing_kji)
        return cls(around, axis, slices, DistanceGrid(distance, around))

    @property
    def gap_mm(self) -> float:
        """The widest way from an annotated slice to the next."""
        return float(np.diff(self.slices).max() * self.geometry.spacing_mm[2 - self.axis])

    def known_at(self, points_ras: np.ndarray, within_mm: float) -> np.ndarray:
        """(N,) bool, which of (N, 3) RAS points lie as near as that to an annotated slice."""
        layer = self.geometry.ras_to_ijk_points(points_ras)[:, 2 - self.axis]
        after = np.clip(np.searchsorted(self.slices, layer), 1, len(self.slices) - 1)
        layers = np.minimum(np.abs(layer - self.slices[after - 1]), np.abs(layer - self.slices[after]))
        return layers * self.geometry.spacing_mm[2 - self.axis] <= within_mm

    def through_contours(self, organ: SignedDistance) -> SignedDistance:
        """A distance bent so that it passes through the annotated contours.

        Its error on the slices is taken off there, and off what lies between in proportion to the nearness.
        """
        layers = np.moveaxis(self.distance.values_mm, self.axis, 0)
        errors = np.stack([self._error(organ, layers[n], n) for n in self.slices])
        spread = spread_from_slices(errors, self.slices, len(layers), 0.0)
        gap = np.diff(self.slices).max()
        layer = np.arange(len(layers))
        beyond = np.maximum(np.maximum(self.slices[0] - layer, layer - self.slices[-1]), 0)
        spread *= np.clip(1.0 - beyond / gap, 0.0, 1.0).astype(np.float32)[:, None, None]
        return Corrected(organ, np.moveaxis(spread, 0, self.axis), self.geometry)

    def _error(self, organ: SignedDistance, contour_mm: np.ndarray, number: int) -> np.ndarray:
        """What is to be added to the field on an annotated slice."""
        kji = np.indices(contour_mm.shape).reshape(2, -1)
        kji = np.insert(kji, self.axis, number, axis=0)
        field = organ.sdf_mm(self.geometry.ijk_to_ras_points(kji[::-1].T)).reshape(contour_mm.shape)
        within = np.delete(self.geometry.spacing_mm[::-1], self.axis)
        # The way to the contour within the slice is longer than the way to the surface.
        slope = np.clip(np.linalg.norm(np.gradient(field, *within), axis=0), _LEAST_SLOPE, 1.0)
        error = slope * contour_mm - field
        # Far from the contour only what is on the wrong side has to change.
        share = np.clip(2.0 - np.abs(contour_mm) / _BAND_MM, 0.0, 1.0)
        return np.where((field < 0) != (contour_mm < 0), error, share * error).astype(np.float32)


def annotated_slices(mask: np.ndarray) -> tuple[int, np.ndarray]:
    """The axis of a (K, J, I) bool mask across which its slices lie, and the numbers of the annotated ones.

    Raises:
        BadInputError: the mask is empty, or has one slice only, or no empty slice between annotated ones.
    """
    used = [np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    if not len(used[0]):
        raise BadInputError("The mask is empty: draw the organ on a few parallel slices.")
    axis = int(np.argmin([len(slices) / (slices[-1] - slices[0] + 1) for slices in used]))
    slices = used[axis]
    if min(map(len, used)) < FEWEST_SLICES:
        raise BadInputError("The organ was drawn on one slice only: draw it on two parallel slices or more.")
    if len(slices) == slices[-1] - slices[0] + 1:
        raise BadInputError("The organ was drawn on every slice, so there is nothing between them; refine it as it is.")
    return axis, slices


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
    after = np.clip(np.searchsorted(slices, layer), 1, len(slices) - 1)
    lower, upper = slices[after - 1], slices[after]
    share = np.clip((layer - lower) / (upper - lower), 0.0, 1.0).astype(np.float32)
    beyond = np.maximum(np.maximum(slices[0] - layer, layer - slices[-1]), 0).astype(np.float32) * np.float32(rise)
    shape = (-1,) + (1,) * (known.ndim - 1)
    share, beyond = share.reshape(shape), beyond.reshape(shape)
    return ((1 - share) * known[after - 1] + share * known[after] + beyond).astype(np.float32)


def distance_within_slice(layer: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """2D float32 distance, negative inside, to the contour of a 2D mask, half a pixel before the centres of the other
    side; in the unit of ``spacing`` (2,), the pixels' edges."""
    half = 0.5 * float(np.mean(spacing))
    # A wall of background: an organ that fills the slice has a contour, too.
    layer = np.pad(layer, 1)
    outside = ndimage.distance_transform_edt(~layer, sampling=spacing)
    inside = ndimage.distance_transform_edt(layer, sampling=spacing)
    return (np.maximum(outside - half, 0) - np.maximum(inside - half, 0))[1:-1, 1:-1].astype(np.float32)
