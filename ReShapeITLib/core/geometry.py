"""Value types for frames: the voxel grid of an image and the similarity between two frames.

Frames used throughout the library:

``ijk``   voxel indices; arrays are indexed ``[k, j, i]``
``ras``   patient space in mm, as in Slicer (files store LPS; only the readers and writers know that)
``unit``  canonical frame of an organ template: dimensionless, the organ fills about the unit sphere
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import ArrayLike

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


Slices = tuple[slice, slice, slice]


def box_of_boxes(boxes: Iterable[Slices]) -> Slices:
    """The smallest (k, j, i) box that holds all of some boxes."""
    k, j, i = (slice(min(s.start for s in along), max(s.stop for s in along)) for along in zip(*boxes, strict=True))
    return k, j, i


@dataclass(frozen=True, eq=False)
class ImageGeometry:
    """Where the voxels of an image lie: one affine from ``ijk`` to RAS mm and the grid size.

    Args:
        ijk_to_ras: (4, 4) affine; its columns carry direction times spacing, so any orientation,
            obliqueness, shear and handedness is one and the same case.
        size_ijk: number of voxels along i, j, k.
    """

    ijk_to_ras: np.ndarray
    size_ijk: tuple[int, int, int]

    def __post_init__(self) -> None:
        matrix = np.array(self.ijk_to_ras, dtype=np.float64)
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
            raise ValueError("ijk_to_ras must be a finite 4 x 4 matrix")
        if abs(np.linalg.det(matrix[:3, :3])) < 1e-12:
            raise ValueError("ijk_to_ras is singular: a voxel axis has no length")
        matrix.setflags(write=False)
        object.__setattr__(self, "ijk_to_ras", matrix)
        object.__setattr__(self, "size_ijk", tuple(int(n) for n in self.size_ijk))

    @classmethod
    def from_parts(
        cls,
        size_ijk: Sequence[int],
        spacing_mm: ArrayLike,
        origin_ras: ArrayLike = (0.0, 0.0, 0.0),
        direction_ras: ArrayLike | None = None,
    ) -> ImageGeometry:
        """Geometry from spacing (mm), origin (RAS mm) and (3, 3) direction whose columns are the i, j, k axes."""
        direction = np.eye(3) if direction_ras is None else np.asarray(direction_ras, dtype=np.float64)
        matrix = np.eye(4)
        matrix[:3, :3] = direction * np.asarray(spacing_mm, dtype=np.float64)
        matrix[:3, 3] = origin_ras
        i, j, k = size_ijk
        return cls(matrix, (i, j, k))

    @property
    def shape_kji(self) -> tuple[int, int, int]:
        """Shape of the numpy array that holds the voxels."""
        i, j, k = self.size_ijk
        return k, j, i

    @cached_property
    def spacing_mm(self) -> np.ndarray:
        """(3,) voxel edge lengths along i, j, k in mm."""
        return np.linalg.norm(self.ijk_to_ras[:3, :3], axis=0)

    @cached_property
    def direction_ras(self) -> np.ndarray:
        """(3, 3) unit vectors of the i, j, k axes in RAS, as columns."""
        return self.ijk_to_ras[:3, :3] / self.spacing_mm

    @cached_property
    def skew(self) -> float:
        """Largest cosine between two voxel axes: 0 where they are orthogonal."""
        return float(np.abs(self.direction_ras.T @ self.direction_ras - np.eye(3)).max())

    @property
    def origin_ras(self) -> np.ndarray:
        """(3,) centre of voxel (0, 0, 0) in RAS mm."""
        return self.ijk_to_ras[:3, 3]

    @cached_property
    def ras_to_ijk(self) -> np.ndarray:
        """(4, 4) inverse affine."""
        return np.linalg.inv(self.ijk_to_ras)

    @cached_property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel in mm^3."""
        return float(abs(np.linalg.det(self.ijk_to_ras[:3, :3])))

    def ijk_to_ras_points(self, points_ijk: np.ndarray) -> np.ndarray:
        """Map (N, 3) voxel indices (fractions allowed) to RAS mm."""
        return np.asarray(points_ijk) @ self.ijk_to_ras[:3, :3].T + self.ijk_to_ras[:3, 3]

    def ras_to_ijk_points(self, points_ras: np.ndarray) -> np.ndarray:
        """Map (N, 3) RAS mm points to fractional voxel indices."""
        return np.asarray(points_ras) @ self.ras_to_ijk[:3, :3].T + self.ras_to_ijk[:3, 3]

    def cropped(self, start_ijk: ArrayLike, size_ijk: Sequence[int]) -> ImageGeometry:
        """Geometry of the box that starts at ``start_ijk`` (may be negative: padding) in this grid."""
        matrix = self.ijk_to_ras.copy()
        matrix[:3, 3] = self.ijk_to_ras_points(np.asarray(start_ijk, dtype=np.float64)[None])[0]
        i, j, k = size_ijk
        return ImageGeometry(matrix, (i, j, k))

    def every(self, steps_ijk: Sequence[int]) -> ImageGeometry:
        """Geometry of every n-th voxel along each axis, from the first one on."""
        matrix = self.ijk_to_ras.copy()
        matrix[:3, :3] *= np.asarray(steps_ijk)
        i, j, k = (-(-n // int(step)) for n, step in zip(self.size_ijk, steps_ijk, strict=True))
        return ImageGeometry(matrix, (i, j, k))

    @property
    def corners_ras(self) -> np.ndarray:
        """(8, 3) RAS mm of the outermost voxel centres."""
        return self.ijk_to_ras_points(np.array(list(product(*((0, n - 1) for n in self.size_ijk))), dtype=np.float64))

    def of_box(self, box_kji: Sequence[slice]) -> ImageGeometry:
        """Geometry of a (k, j, i) box of this grid, as ``box_around`` and ``scipy.ndimage.find_objects`` give one."""
        return self.cropped([s.start for s in box_kji[::-1]], [s.stop - s.start for s in box_kji[::-1]])

    def box_around(self, bounds_ras: tuple[np.ndarray, np.ndarray]) -> tuple[slice, slice, slice]:
        """The (k, j, i) box of voxels that a box in RAS mm, given by its lower and upper corner, touches.

        It is empty along an axis on which the two miss each other.
        """
        corners_ras = np.array(list(product(*zip(*np.asarray(bounds_ras, dtype=np.float64), strict=True))))
        corners_ijk = self.ras_to_ijk_points(corners_ras)
        start = np.clip(np.floor(corners_ijk.min(axis=0)).astype(int), 0, self.size_ijk)
        stop = np.clip(np.ceil(corners_ijk.max(axis=0)).astype(int) + 1, start, self.size_ijk)
        k, j, i = (slice(int(a), int(b)) for a, b in zip(start[::-1], stop[::-1], strict=True))
        return k, j, i

    def difference_from(self, other: ImageGeometry, tolerance_mm: float = 1e-3) -> str:
        """What differs between two grids and by how much, in words; "" where ``same_grid_as`` holds."""
        if self.size_ijk != other.size_ijk:
            return "size {} and {} voxels".format(*(" x ".join(map(str, g.size_ijk)) for g in (self, other)))
        if self.same_grid_as(other, tolerance_mm):
            return ""
        extent = np.array(self.size_ijk)
        told = []
        if np.abs((self.spacing_mm - other.spacing_mm) * extent).max() > tolerance_mm:
            spacings = (" x ".join(f"{x:.6g}" for x in g.spacing_mm) for g in (self, other))
            told.append("spacing {} and {} mm".format(*spacings))
        sines = np.linalg.norm(np.cross(self.direction_ras.T, other.direction_ras.T), axis=1)
        cosines = np.sum(self.direction_ras * other.direction_ras, axis=0)
        angles = np.arctan2(sines, cosines)
        if (2.0 * np.sin(0.5 * angles) * extent * self.spacing_mm).max() > tolerance_mm:
            axis = int(angles.argmax())
            told.append(f"direction by {np.degrees(angles[axis]):.3g} degrees along {'ijk'[axis]}")
        gap_mm = float(np.linalg.norm(self.origin_ras - other.origin_ras))
        if gap_mm > tolerance_mm or not told:
            told.append(f"origin by {gap_mm:.4g} mm")
        return ", ".join(told)

    def same_grid_as(self, other: ImageGeometry, tolerance_mm: float = 1e-3) -> bool:
        """True where both grids have the same voxels, to ``tolerance_mm`` at the far corners."""
        if self.size_ijk != other.size_ijk:
            return False
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in self.size_ijk])).reshape(3, -1).T
        gap = self.ijk_to_ras_points(corners) - other.ijk_to_ras_points(corners)
        return bool(np.abs(gap).max() <= tolerance_mm)


@dataclass(frozen=True, eq=False)
class Similarity:
    """The map ``x -> scale * rotation @ x + translation`` between two 3D frames.

    Args:
        scale: positive factor.
        rotation: (3, 3) proper rotation.
        translation: (3,) in the units of the target frame.
    """

    scale: float
    rotation: np.ndarray
    translation: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", float(self.scale))
        object.__setattr__(self, "rotation", np.array(self.rotation, dtype=np.float64))
        object.__setattr__(self, "translation", np.array(self.translation, dtype=np.float64))
        if not self.scale > 0:
            raise ValueError(f"the scale of a similarity must be positive, not {self.scale}")

    @classmethod
    def identity(cls) -> Similarity:
        """The map that changes nothing."""
        return cls(1.0, np.eye(3), np.zeros(3))

    def apply(self, points: np.ndarray) -> np.ndarray:
        """Map (N, 3) points."""
        return self.scale * (np.asarray(points) @ self.rotation.T) + self.translation

    def apply_to_vectors(self, vectors: np.ndarray) -> np.ndarray:
        """Rotate (N, 3) directions such as normals (lengths are kept)."""
        return np.asarray(vectors) @ self.rotation.T

    def inverse(self) -> Similarity:
        """The map back."""
        rotation = self.rotation.T
        return Similarity(1.0 / self.scale, rotation, -(rotation @ self.translation) / self.scale)

    def after(self, first: Similarity) -> Similarity:
        """The map that applies ``first`` and then this one."""
        return Similarity(
            self.scale * first.scale, self.rotation @ first.rotation, self.apply(first.translation[None])[0]
        )
