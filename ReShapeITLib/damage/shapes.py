"""Damage as segmentations really have it, on demand: for the demo and for evaluation with a known truth.

Every function takes a (K, J, I) bool mask, its geometry and a random generator, works in mm whatever the grid, and
returns a new mask. The same generator state gives the same damage.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from ..core.errors import BadInputError
from ..core.geometry import ImageGeometry

Damage = Callable[[np.ndarray, ImageGeometry, np.random.Generator], np.ndarray]


def bite(mask: np.ndarray, geometry: ImageGeometry, rng: np.random.Generator, radius_mm: float = 20.0) -> np.ndarray:
    """A ball around a random point of the surface is missing (a lesion or a low-contrast part was left out)."""
    return mask & ~_ball(geometry, _surface_point(mask, geometry, rng)[0], radius_mm)


def leak(
    mask: np.ndarray,
    geometry: ImageGeometry,
    rng: np.random.Generator,
    radius_mm: float = 10.0,
    length_mm: float = 30.0,
) -> np.ndarray:
    """A capsule grows out of a random point of the surface (the segmentation ran into a neighbouring organ)."""
    point, outward = _surface_point(mask, geometry, rng)
    tip = point + length_mm * outward
    return mask | (_distance_to_segment(geometry, point, tip) <= radius_mm)


def island(
    mask: np.ndarray, geometry: ImageGeometry, rng: np.random.Generator, radius_mm: float = 8.0, gap_mm: float = 12.0
) -> np.ndarray:
    """A separate ball at a distance from the organ (a piece of another organ was taken for this one).

    Args:
        gap_mm: free space between organ and island, along the outward direction of a random surface point.
    """
    point, outward = _surface_point(mask, geometry, rng)
    ball = _ball(geometry, point + (gap_mm + radius_mm) * outward, radius_mm)
    # Where the organ curves around, the ball must still not grow on to it.
    return mask | (ball & ~ndimage.binary_dilation(mask, iterations=2))


def holes(
    mask: np.ndarray, geometry: ImageGeometry, rng: np.random.Generator, count: int = 3, radius_mm: float = 4.0
) -> np.ndarray:
    """Balls inside the organ are missing (vessels or lesions were left out)."""
    depth_mm = ndimage.distance_transform_edt(mask, sampling=geometry.spacing_mm[::-1])
    deep = np.argwhere(depth_mm > radius_mm + geometry.spacing_mm.max())
    damaged = mask.copy()
    for k, j, i in deep[rng.integers(len(deep), size=count)] if len(deep) else ():
        damaged &= ~_ball(geometry, geometry.ijk_to_ras_points(np.array([[i, j, k]]))[0], radius_mm)
    return damaged


def truncation(
    mask: np.ndarray,
    geometry: ImageGeometry,
    rng: np.random.Generator,
    share: float = 0.3,
    direction_ras: np.ndarray | None = None,
) -> np.ndarray:
    """A plane cuts a share of the volume off (the field of view ended there).

    Args:
        share: of the volume, 0 to 1.
        direction_ras: (3,) the part farthest in this direction is lost; up or down at random where None.
    """
    if direction_ras is None:
        direction_ras = np.array([0.0, 0.0, rng.choice([-1.0, 1.0])])
    inside = np.argwhere(mask)
    along = geometry.ijk_to_ras_points(inside[:, ::-1]) @ np.asarray(direction_ras, dtype=np.float64)
    damaged = mask.copy()
    damaged[tuple(inside[along > np.quantile(along, 1.0 - share)].T)] = False
    return damaged


def combined(
    mask: np.ndarray, geometry: ImageGeometry, rng: np.random.Generator, size_mm: float | None = None
) -> np.ndarray:
    """Bite, leak, holes and island at once, in proportion to the organ.

    Args:
        size_mm: length to scale by; half the longest edge of the organ's bounding box where None.
    """
    if size_mm is None:
        size_mm = 0.5 * float(np.ptp(geometry.ijk_to_ras_points(np.argwhere(mask)[:, ::-1]), axis=0).max())
    damaged = bite(mask, geometry, rng, 0.3 * size_mm)
    damaged = leak(damaged, geometry, rng, 0.1 * size_mm, 0.7 * size_mm)
    damaged = holes(damaged, geometry, rng, 3, 0.05 * size_mm)
    return island(damaged, geometry, rng, 0.1 * size_mm, 0.25 * size_mm)


DAMAGES: dict[str, Damage] = {
    "bite": bite,
    "leak": leak,
    "island": island,
    "holes": holes,
    "truncation": truncation,
    "combined": combined,
}


def _surface_point(mask, geometry: ImageGeometry, rng) -> tuple[np.ndarray, np.ndarray]:
    """RAS mm of a random voxel at the surface, and the (3,) outward unit vector there."""
    border = np.argwhere(mask & ~ndimage.binary_erosion(mask))
    if not len(border):
        raise BadInputError("An empty mask cannot be damaged", "choose a label that has voxels", "damage.empty")
    k, j, i = border[rng.integers(len(border))]
    point = geometry.ijk_to_ras_points(np.array([[i, j, k]]))[0]
    # The centroid of the organ within a neighbourhood lies inwards, however thick the slices are.
    near = _ball(geometry, point, 5.0 * geometry.spacing_mm.max()) & mask
    inwards = geometry.ijk_to_ras_points(np.argwhere(near)[:, ::-1]).mean(axis=0) - point
    length = np.linalg.norm(inwards)
    return point, -inwards / length if length > 1e-6 else np.array([0.0, 0.0, 1.0])


def _ball(geometry: ImageGeometry, centre_ras: np.ndarray, radius_mm: float) -> np.ndarray:
    """(K, J, I) voxels within ``radius_mm`` of a point."""
    return _distance_to_segment(geometry, centre_ras, centre_ras) <= radius_mm


def _distance_to_segment(geometry: ImageGeometry, start_ras: np.ndarray, end_ras: np.ndarray) -> np.ndarray:
    """(K, J, I) distance in mm of every voxel centre to the line from start to end (3,)."""
    k, j, i = np.ogrid[tuple(slice(n) for n in geometry.shape_kji)]
    matrix = geometry.ijk_to_ras
    offset = [matrix[a, 0] * i + matrix[a, 1] * j + matrix[a, 2] * k + (matrix[a, 3] - start_ras[a]) for a in range(3)]
    line = np.asarray(end_ras) - start_ras
    squared = float(line @ line)
    place = 0.0
    if squared > 0:
        place = np.clip(sum(o * part for o, part in zip(offset, line, strict=True)) / squared, 0.0, 1.0)
    return np.sqrt(sum((o - place * part) ** 2 for o, part in zip(offset, line, strict=True)))
