"""Signed distances made of others; each is asked like those it is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..core.geometry import ImageGeometry
from .protocol import Box, SignedDistance, box_around
from .surface import DistanceGrid


@dataclass(frozen=True, eq=False)
class FunctionDistance:
    """A distance given by a function.

    Args:
        function: from (N, 3) RAS points to (N,) mm, negative inside.
        bounds_ras: box that holds the organ.
    """

    function: Callable[[np.ndarray], np.ndarray]
    bounds_ras: Box

    def sdf_mm(self, points_ras: np.ndarray) -> np.ndarray:
        """(N,) what the function says at (N, 3) RAS points."""
        return self.function(points_ras)


@dataclass(frozen=True, eq=False)
class Union:
    """What lies inside either of two organs."""

    first: SignedDistance
    second: SignedDistance

    @property
    def bounds_ras(self) -> Box:
        """A box that holds both."""
        return box_around(self.first.bounds_ras, self.second.bounds_ras)

    def sdf_mm(self, points_ras: np.ndarray) -> np.ndarray:
        """(N,) the smaller distance at (N, 3) RAS points."""
        return np.minimum(self.first.sdf_mm(points_ras), self.second.sdf_mm(points_ras))


@dataclass(frozen=True, eq=False)
class Difference:
    """What lies inside one organ and outside another."""

    organ: SignedDistance
    without: SignedDistance

    @property
    def bounds_ras(self) -> Box:
        """The box of the first one."""
        return self.organ.bounds_ras

    def sdf_mm(self, points_ras: np.ndarray) -> np.ndarray:
        """(N,) distance at (N, 3) RAS points."""
        return np.maximum(self.organ.sdf_mm(points_ras), -self.without.sdf_mm(points_ras))


@dataclass(frozen=True, eq=False)
class Cuboid:
    """The box between the outermost voxel centres of a grid.

    Args:
        geometry: of the grid.
    """

    geometry: ImageGeometry

    @property
    def bounds_ras(self) -> Box:
        """The smallest box along the RAS axes that holds it."""
        corners_ras = self.geometry.corners_ras
        return corners_ras.min(axis=0), corners_ras.max(axis=0)

    def sdf_mm(self, points_ras: np.ndarray) -> np.ndarray:
        """(N,) mm to the nearest face at (N, 3) RAS points, along the grid's axes."""
        half = 0.5 * (np.array(self.geometry.size_ijk) - 1.0)
        beyond = np.abs(self.geometry.ras_to_ijk_points(points_ras) - half) - half
        return (beyond * self.geometry.spacing_mm).max(axis=1)


@dataclass(frozen=True, eq=False)
class WeightedMean:
    """The mean of several distances.

    Args:
        parts: weight and distance of each; the weights add up to 1.
    """

    parts: tuple[tuple[float, SignedDistance], ...]

    @property
    def bounds_ras(self) -> Box:
        """A box that holds all of them."""
        return box_around(*(part.bounds_ras for _, part in self.parts))

    def sdf_mm(self, points_ras: np.ndarray) -> np.ndarray:
        """(N,) weighted mean at (N, 3) RAS points."""
        return sum(weight * part.sdf_mm(points_ras) for weight, part in self.parts)


@dataclass(frozen=True, eq=False)
class Restricted:
    """A distance held to within a margin of another one.

    Args:
        organ: what is held.
        around: what it is held to.
        margin_mm: largest difference.
    """

    organ: SignedDistance
    around: SignedDistance
    margin_mm: float

    @property
    def bounds_ras(self) -> Box:
        """A box that holds the organ, which may reach the margin beyond what it is held to."""
        lower, upper = self.around.bounds_ras
        return lower - self.margin_mm, upper + self.margin_mm

    def sdf_mm(self, points_ras: np.ndarray) -> np.ndarray:
        """(N,) distance at (N, 3) RAS points."""
        middle = self.around.sdf_mm(points_ras)
        return np.clip(self.organ.sdf_mm(points_ras), middle - self.margin_mm, middle + self.margin_mm)


@dataclass(frozen=True, eq=False)
class Corrected:
    """A distance and what is added to it on a grid; nothing is added outside that grid.

    Args:
        organ: what is corrected.
        correction_mm: (K, J, I) float32.
        geometry: of the correction.
    """

    organ: SignedDistance
    correction_mm: np.ndarray
    geometry: ImageGeometry

    @property
    def bounds_ras(self) -> Box:
        """A box that holds the organ and the grid."""
        return box_around(self.organ.bounds_ras, DistanceGrid(self.correction_mm, self.geometry).bounds_ras)

    def sdf_mm(self, points_ras: np.ndarray) -> np.ndarray:
        """(N,) distance at (N, 3) RAS points."""
        kji = self.geometry.ras_to_ijk_points(points_ras)[:, ::-1]
        added = ndimage.map_coordinates(self.correction_mm, kji.T, order=1, mode="constant", output=np.float64)
        return self.organ.sdf_mm(points_ras) + added


@dataclass(frozen=True, eq=False)
class WithinImage:
    """Another weight for the points within an image whose border cuts the organ.

    Args:
        weight: as in :class:`BlendedField`.
        holds: from (N, 3) RAS points to (N,) bool, which of them lie within.
    """

    weight: DistanceGrid
    holds: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class BlendedField:
    """``(1 - w) given + w expected`` with the weight w on a grid of its own, as at its border outside it.

    Args:
        given: the given organ's signed distance.
        expected: what belongs where the given organ is not believed.
        weight: w, on the working grid.
        within: w within the image, where the organ goes on beyond it; None where that is no other one.
    """

    given: SignedDistance
    expected: SignedDistance
    weight: DistanceGrid
    within: WithinImage | None = None

    @property
    def bounds_ras(self) -> Box:
        """A box that holds both organs."""
        return box_around(self.given.bounds_ras, self.expected.bounds_ras)

    def weight_at(self, points_ras: np.ndarray) -> np.ndarray:
        """(N,) weight of the expected organ at RAS points."""
        weight = _sampled(self.weight, points_ras)
        if self.within is not None:
            inside = self.within.holds(points_ras)
            weight[inside] = _sampled(self.within.weight, points_ras[inside])
        return weight

    def sdf_mm(self, points_ras: np.ndarray) -> np.ndarray:
        """(N,) signed distance at RAS points; the expected organ is asked only where it has a say."""
        points_ras = np.asarray(points_ras)
        values = self.given.sdf_mm(points_ras)
        weight = self.weight_at(points_ras)
        asked = weight > 0
        if asked.any():
            expected = self.expected.sdf_mm(points_ras[asked])
            values[asked] += weight[asked] * (expected - values[asked])
        return values


def _sampled(weight: DistanceGrid, points_ras: np.ndarray) -> np.ndarray:
    """(N,) weight at (N, 3) RAS points."""
    ijk = weight.geometry.ras_to_ijk_points(points_ras)
    return ndimage.map_coordinates(weight.values_mm, ijk[:, ::-1].T, order=1, mode="nearest")
