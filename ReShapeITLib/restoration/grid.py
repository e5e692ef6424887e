"""The coarse grid in the template's frame that the restoration network sees."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ..core.geometry import ImageGeometry, Similarity
from ..core.parallel import together
from ..distance.protocol import SignedDistance
from ..templates.template import OrganTemplate

CELL_UNIT = 0.036
MARGIN_UNIT = 0.35
TEMPLATE_LIMIT_CELLS = 8.0
MULTIPLE = 8  # the network halves the grid three times


@dataclass(frozen=True)
class CanonicalGrid:
    """Cubic cells along the axes of the unit frame; arrays on it are indexed [z, y, x].

    Args:
        lower_unit: centre of the first cell.
        shape_zyx: cells along each axis.
        cell_unit: edge of a cell, unit lengths.
    """

    lower_unit: tuple[float, float, float]
    shape_zyx: tuple[int, int, int]
    cell_unit: float = CELL_UNIT

    @classmethod
    def around(cls, points_unit: np.ndarray, margin_unit: float = MARGIN_UNIT) -> CanonicalGrid:
        """The grid around (N, 3) points of a template's surface, with a margin for what differs from it."""
        lower, upper = points_unit.min(0) - margin_unit, points_unit.max(0) + margin_unit
        size = MULTIPLE * np.ceil((upper - lower) / CELL_UNIT / MULTIPLE).astype(int)
        start = 0.5 * (lower + upper) - 0.5 * CELL_UNIT * (size - 1)
        return cls(tuple(map(float, start)), tuple(map(int, size[::-1])))

    def padded(self, cells: int) -> CanonicalGrid:
        """The same grid with ``cells`` more on every side."""
        lower = tuple(x - cells * self.cell_unit for x in self.lower_unit)
        return CanonicalGrid(lower, tuple(n + 2 * cells for n in self.shape_zyx), self.cell_unit)

    def points_unit(self) -> np.ndarray:
        """(Z * Y * X, 3) cell centres in the order of a raveled [z, y, x] array."""
        z, y, x = np.indices(self.shape_zyx).reshape(3, -1)
        return np.stack([x, y, z], axis=1) * self.cell_unit + np.array(self.lower_unit)

    def geometry_ras(self, ras_to_unit: Similarity) -> ImageGeometry:
        """The same cells as an image in RAS mm."""
        to_ras = ras_to_unit.inverse()
        matrix = np.eye(4)
        matrix[:3, :3] = to_ras.scale * self.cell_unit * to_ras.rotation
        matrix[:3, 3] = to_ras.apply(np.array([self.lower_unit]))[0]
        return ImageGeometry(matrix, self.shape_zyx[::-1])

    def sample_cells(self, distance: SignedDistance, ras_to_unit: Similarity, most_cells: float) -> np.ndarray:
        """[z, y, x] float32 signed distance of an organ on this grid, in cells, limited to +-``most_cells``."""
        points = ras_to_unit.inverse().apply(self.points_unit())
        cells = distance.sdf_mm(points) * (ras_to_unit.scale / self.cell_unit)
        return np.clip(cells, -most_cells, most_cells).reshape(self.shape_zyx).astype(np.float32)


def voxel_fineness(spacing_mm: np.ndarray, cell_mm: float) -> float:
    """What the network is told in every cell about an organ that was given on voxels coarse against the cells: 1 for
    the finest, a half for those of a cell's size, and so on."""
    return float(1.0 / (1.0 + np.mean(spacing_mm) / cell_mm))


@lru_cache(maxsize=2)
def template_cells(template: OrganTemplate, grid: CanonicalGrid) -> np.ndarray:
    """[z, y, x] read-only signed distance of the template on the grid in cells, limited."""
    import torch

    @torch.no_grad()
    def values_at(part: torch.Tensor) -> torch.Tensor:
        return template.model.template_values(part)

    points = torch.as_tensor(grid.points_unit(), dtype=torch.float32, device=template.alpha.device)
    values = torch.cat(together(values_at, points.split(16384))).cpu().numpy()
    limit = TEMPLATE_LIMIT_CELLS
    cells = np.clip(values / grid.cell_unit, -limit, limit).reshape(grid.shape_zyx).astype(np.float32)
    cells.setflags(write=False)
    return cells
