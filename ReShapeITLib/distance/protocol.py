"""What answers "signed millimetres at RAS points": voxel grids, meshes, fitted fields, refined organs."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

Box = tuple[np.ndarray, np.ndarray]  # lower (3,) and upper (3,) corner, RAS mm


@runtime_checkable
class SignedDistance(Protocol):
    """Signed distance to one organ's surface, exact or about one."""

    @property
    def bounds_ras(self) -> Box:
        """Lower and upper corner (RAS mm) of a box that holds the organ."""

    def sdf_mm(self, points_ras: np.ndarray) -> np.ndarray:
        """(N,) float64 signed distance in mm, negative inside, at (N, 3) float64 RAS points."""


def box_around(*boxes: Box) -> Box:
    """The smallest box that holds all the boxes."""
    return np.min([lower for lower, _ in boxes], axis=0), np.max([upper for _, upper in boxes], axis=0)
