"""What coarse voxels hide of an organ's surface: the detail that a network expects from whole organs of its kind.

Smoothing a coarse mask loses what is thinner than its voxels, wherever it lies; a network that has seen organs of that
kind on such voxels knows where that is. It is shown the smoothed organ as the restoration network is shown a given one,
and answers with an offset of its distance, of which half a voxel counts at most.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from ..core.geometry import Similarity
from ..distance.surface import DistanceGrid
from ..templates.template import OrganTemplate
from .grid import CELL_UNIT, voxel_fineness
from .model import RestorationModel, restore
from .network import GIVEN_LIMIT_CELLS

_MOST_OBLONG = 1.5  # longest edge of a voxel in shortest ones; thick slices are none of its training
# Mean edge of a voxel in cells of the network: it tells nothing about fine voxels, and all about those beyond a cell.
_LEAST_CELLS, _FULL_CELLS = 0.4, 1.2


@dataclass(frozen=True, eq=False)
class CoarseVoxels:
    """The voxels that an organ was given on, as ``restore`` is told of what was seen.

    Args:
        spacing_mm: (3,) edges.
    """

    spacing_mm: np.ndarray

    def known_at(self, points_ras: np.ndarray, half_cell_mm: float) -> np.ndarray:
        """(N,) how fine the voxels are against the network's cells, the same at all (N, 3) RAS points."""
        return np.full(len(points_ras), voxel_fineness(self.spacing_mm, 2.0 * half_cell_mm))


@dataclass(frozen=True, eq=False)
class Detail:
    """What is to be added to the smooth distance of an organ.

    Args:
        offset: mm on the network's grid, 0 away from the surface.
        most_mm: largest offset that voxels of that size can hide.
    """

    offset: DistanceGrid
    most_mm: float

    def added_to(self, smooth: DistanceGrid) -> DistanceGrid:
        """The distance with its detail; the same grid."""
        near = np.abs(smooth.values_mm) < 2.0 * self.most_mm
        points = smooth.geometry.ijk_to_ras_points(np.argwhere(near)[:, ::-1])
        places = self.offset.geometry.ras_to_ijk_points(points)[:, ::-1].T
        offset = ndimage.map_coordinates(self.offset.values_mm, places, order=1, mode="constant")
        values = smooth.values_mm.copy()
        values[near] += np.clip(offset, -self.most_mm, self.most_mm)
        return replace(smooth, values_mm=values)


def share_of_detail(spacing_mm: np.ndarray, cell_mm: float) -> float:
    """How much of the offset counts, 0 to 1, for voxels of such edges and cells of the network: all of it for coarse
    ones, nothing for those that are as fine as the cells, or oblong."""
    if np.max(spacing_mm) > _MOST_OBLONG * np.min(spacing_mm):
        return 0.0
    return float(np.clip((np.mean(spacing_mm) / cell_mm - _LEAST_CELLS) / (_FULL_CELLS - _LEAST_CELLS), 0.0, 1.0))


def expected_detail(
    model: RestorationModel,
    template: OrganTemplate,
    smooth: DistanceGrid,
    ras_to_unit: Similarity,
    spacing_mm: np.ndarray,
    poses: int = 4,
) -> Detail | None:
    """What the network expects beside the smoothed surface; None where the voxels are too fine or oblong to ask.

    Args:
        model, template: on the same device; of the same organ.
        smooth: distance of the organ, smoothed from its coarse voxels (``smooth_distance_grid``).
        ras_to_unit: its alignment.
        spacing_mm: (3,) edges of those voxels.
        poses: see :func:`restore`.
    """
    share = share_of_detail(spacing_mm, CELL_UNIT / ras_to_unit.scale)
    if not share:
        return None
    answer = restore(model, template, smooth, ras_to_unit, poses, CoarseVoxels(spacing_mm))
    given = answer.given.values_mm
    # Beyond what the network is shown both distances are limits, and differ for that reason alone.
    near = np.abs(given) < (GIVEN_LIMIT_CELLS - 0.5) * answer.cell_mm
    offset = np.where(near, share * (answer.restored.values_mm - given), 0.0).astype(np.float32)
    return Detail(replace(answer.given, values_mm=offset), 0.5 * float(np.mean(spacing_mm)))
