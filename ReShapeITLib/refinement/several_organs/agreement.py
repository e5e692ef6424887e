"""A refined organ made to say, as a field, what its voxels say after several organs agreed on who has which.

The shared voxels of two organs and the gaps between them are settled on the voxel grid (``joint``). Without this the
surfaces would still overlap and leave the gaps open.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from ...core.geometry import ImageGeometry
from ...core.labels import LabelVolume
from ...core.parallel import together
from ...distance.combinators import Difference, Union
from ...distance.protocol import Box, box_around
from .joint import combine

if TYPE_CHECKING:
    from ..refined import RefinedShape

# Slope of a region's near field along a diagonal stays within what extraction expects of a field.
_HEIGHT = 0.7
# Share of the region at a changed voxel, at least; at any other one at most the rest.
_LEAST_SHARE = 0.55
_WHOLE = np.uint8(255)
_LEAST_BYTES = np.uint8(np.ceil(_LEAST_SHARE * _WHOLE))


class Region:
    """Signed distance, roughly, of some voxels: negative at their centres, positive at all others.

    Args:
        mask: (K, J, I) bool with at least one voxel.
        geometry: of the mask.
    """

    def __init__(self, mask: np.ndarray, geometry: ImageGeometry):
        from scipy.spatial import cKDTree

        (box,) = ndimage.find_objects(mask.astype(np.uint8))
        start_ijk = np.array([s.start - 2 for s in box[::-1]])
        part = np.pad(mask[box], 2)
        self._geometry = geometry.cropped(start_ijk, part.shape[::-1])
        # In bytes: changes lie along all of a border, so the box is as large as the organ.
        share = ndimage.gaussian_filter(np.where(part, _WHOLE, np.uint8(0)), 0.8, truncate=2.5)
        np.maximum(share, _LEAST_BYTES, out=share, where=part)
        np.minimum(share, _WHOLE - _LEAST_BYTES, out=share, where=~part)
        self._share = share
        self._height_mm = _HEIGHT * float(geometry.spacing_mm.min())
        self._diagonal_mm = float(np.linalg.norm(geometry.spacing_mm))
        self._centres_ras = self._geometry.ijk_to_ras_points(np.argwhere(part)[:, ::-1])
        self._tree = cKDTree(self._centres_ras)

    @property
    def bounds_ras(self) -> Box:
        """Lower and upper corner (RAS mm) of a box that holds the region."""
        return self._centres_ras.min(0) - self._diagonal_mm, self._centres_ras.max(0) + self._diagonal_mm

    def sdf_mm(self, points_ras: np.ndarray) -> np.ndarray:
        """(N,) values in mm at (N, 3) RAS points."""
        ijk = self._geometry.ras_to_ijk_points(points_ras)
        share = ndimage.map_coordinates(self._share, ijk[:, ::-1].T, order=1, mode="constant", output=np.float64)
        near = self._height_mm * (1.0 - 2.0 / int(_WHOLE) * share)
        away = share == 0.0
        if away.any():
            near[away] = np.maximum(near[away], self._tree.query(points_ras[away])[0] - self._diagonal_mm)
        return near


def agree(
    volume: LabelVolume,
    shapes: Mapping[int | str, RefinedShape],
    keep_union: bool = False,
    wholes: Mapping[int | str, str] | None = None,
) -> tuple[LabelVolume, dict[int | str, RefinedShape]]:
    """The volume with the refined labels, and shapes that say the same; arguments as of :func:`joint.combine`."""
    masks = dict(zip(shapes, together(lambda shape: shape.mask(volume.geometry), shapes.values()), strict=True))
    own = {label: np.packbits(mask) for label, mask in masks.items()}  # an eighth of the memory
    after, agreed = combine(volume, shapes, keep_union, wholes, masks), {}
    del masks
    for label, bits in own.items():
        mask = after.mask(label)
        claimed = np.unpackbits(bits, count=mask.size).reshape(mask.shape).view(bool)
        agreed[label] = agreeing(shapes[label], claimed, mask, volume.geometry)
    return after, agreed


def agreeing(shape: RefinedShape, own: np.ndarray, agreed: np.ndarray, geometry: ImageGeometry) -> RefinedShape:
    """The shape with ``agreed`` (K, J, I) bool voxels instead of its ``own``; itself where the two are the same."""
    regions = [Region(mask, geometry) if mask.any() else None for mask in (own & ~agreed, agreed & ~own)]
    if regions == [None, None]:
        return shape
    lost, gained = regions
    distance, bounds = shape.distance, shape.bounds_ras
    if gained is not None:
        distance, bounds = Union(distance, gained), box_around(bounds, gained.bounds_ras)
    if lost is not None:
        distance = Difference(distance, lost)
    return replace(shape, distance=distance, bounds_ras=bounds)
