"""Which organ a piece of a label map looks like: its voxels' moments against those of all templates' training cases."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from ...core.geometry import ImageGeometry
from ...templates.shape_moments import MIXED, PAIRS, ShapeDistribution

if TYPE_CHECKING:
    from ...templates.template import TemplateInfo

# What changes its sign where left and right change places: whatever holds R an odd number of times.
_MIRRORED = np.array([1.0] * 4 + [-1.0 if axes.count(0) % 2 else 1.0 for axes in (*PAIRS, *MIXED)])


def voxel_moments(points_ras: np.ndarray, voxel_mm3: float) -> np.ndarray:
    """Moments (14,) as of ``shape_moments``, of (N, 3) voxel centres in RAS mm that do not lie in one plane."""
    # Sums over rows of three are slow, so each axis is an array of its own.
    unit, sd = [], np.empty(3)
    for axis in range(3):
        from_mean = points_ras[:, axis] - points_ras[:, axis].mean()
        sd[axis] = np.sqrt(from_mean @ from_mean / len(from_mean))
        unit.append(np.divide(from_mean, sd[axis], out=from_mean))
    products = {(i, j): unit[i] * unit[j] for i, j in {axes[:2] for axes in MIXED}}
    correlations = [unit[i] @ unit[j] / len(points_ras) for i, j in PAIRS]
    thirds = [products[i, j] @ unit[k] / len(points_ras) for i, j, k in MIXED]
    return np.concatenate([[np.log(len(points_ras) * voxel_mm3)], np.log(sd), correlations, thirds])


def mirrored(moments: np.ndarray) -> np.ndarray:
    """Moments (14,) of the same piece with left and right exchanged."""
    reflected: np.ndarray = moments * _MIRRORED
    return reflected


def points_of(mask: np.ndarray, geometry: ImageGeometry) -> np.ndarray:
    """(N, 3) RAS mm of the voxel centres of a (K, J, I) bool mask."""
    return geometry.ijk_to_ras_points(np.argwhere(mask)[:, ::-1])


def is_solid(points_ras: np.ndarray) -> bool:
    """Whether (N, 3) voxel centres have moments: they do not lie in one plane across an axis."""
    return len(points_ras) > 1 and all(np.ptp(points_ras[:, axis]) > 0 for axis in range(3))


class KnownOrgans:
    """The organs that there are templates for, to compare pieces with.

    Args:
        infos: of the templates; those without moments are left out.
    """

    def __init__(self, infos: Sequence[TemplateInfo]):
        self._infos = [info for info in infos if info.shape_moments]

    @cached_property
    def _distributions(self) -> list[tuple[str, ShapeDistribution]]:
        return [(info.organ, ShapeDistribution.of(info.shape_moments)) for info in self._infos]

    def distances(self, moments: np.ndarray) -> dict[str, float]:
        """Distance of (14,) moments from those of each organ's training cases, about 1 for a typical case."""
        found: dict[str, float] = {}
        for organ, distribution in self._distributions:
            found[organ] = min(distribution.distance(moments), found.get(organ, np.inf))
        return found

    def looks_like(self, points_ras: np.ndarray, voxel_mm3: float, limit: float) -> str:
        """The closest organ of (N, 3) voxel centres in RAS mm; "" where none is closer than ``limit``."""
        if not is_solid(points_ras):
            return ""
        distances = self.distances(voxel_moments(points_ras, voxel_mm3))
        closest = min(distances, key=distances.__getitem__, default="")
        return closest if closest and distances[closest] <= limit else ""


def counterpart(organ: str) -> str:
    """The organ of the other side; "" where the organ has none."""
    for side, other in (("left", "right"), ("right", "left")):
        if organ.endswith(f"_{side}"):
            return organ.removesuffix(side) + other
    return ""
