"""From a mask to a smooth closed surface, by way of a signed distance grid that keeps every voxel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..core.errors import BadInputError
from ..core.geometry import ImageGeometry
from ..core.mesh import TriangleSurface
from .flying_edges import zero_level
from .grid import smooth_signed_distance_mm
from .of_mesh import MeshDistance
from .protocol import Box

# The six outermost layers of a (K, J, I) array.
_FACES = tuple((slice(None),) * axis + (layer,) for axis in range(3) for layer in (0, -1))

_LITTLE_SKEW = 0.01  # cosine between axes up to which distances along them are right to a hundredth


@dataclass(frozen=True)
class SurfaceOptions:
    """How a mask becomes a surface.

    Args:
        smoothing_voxels: standard deviation of the smoothing, in voxels of the working grid; 0 switches it off.
        smoothing_passes: how often smoothing and the voxel constraint alternate.
        min_island_mm3: separate pieces below this volume are dropped.
        min_island_fraction: pieces below this share of the largest piece are dropped, too.
        fill_holes: fill cavities that are closed on all sides.
        max_hole_mm3: those of a larger volume stay.
        margin_mm: how far the grid reaches beyond the mask, at least.
        target_spacing_mm: thick slices are interpolated to about this spacing (or the in-plane one where larger).
        max_voxels: slices are interpolated less where the organ would take more voxels than this.
    """

    smoothing_voxels: float = 1.5
    smoothing_passes: int = 2
    min_island_mm3: float = 5.0
    min_island_fraction: float = 0.0
    fill_holes: bool = True
    max_hole_mm3: float = 300.0
    margin_mm: float = 8.0
    target_spacing_mm: float = 1.0
    max_voxels: int = 40_000_000

    def __post_init__(self):
        if not (self.smoothing_voxels >= 0 and self.smoothing_passes >= 0 and self.margin_mm >= 0):
            raise BadInputError(
                "smoothing_voxels, smoothing_passes and margin_mm must not be negative",
                "use 0 or more",
                "surface.negative",
            )
        if not self.target_spacing_mm > 0:
            raise BadInputError(
                "target_spacing_mm must be positive, not {spacing_mm}",
                "use about 1",
                "surface.spacing",
                spacing_mm=self.target_spacing_mm,
            )


@dataclass(frozen=True)
class CleaningReport:
    """What ``clean_mask`` changed; volumes in mm^3."""

    islands_removed: int = 0
    removed_mm3: float = 0.0
    holes_filled: int = 0
    filled_mm3: float = 0.0


@dataclass(frozen=True, eq=False)
class DistanceGrid:
    """Signed distances (negative inside) at the voxel centres of ``geometry``: values_mm is (K, J, I) float32."""

    values_mm: np.ndarray
    geometry: ImageGeometry

    @property
    def bounds_ras(self) -> Box:
        """Lower and upper corner (RAS mm) of the box around all voxel centres, and around what reaches beyond them."""
        corners_ras = self.geometry.corners_ras
        border_mm = min(self.values_mm[face].min() for face in _FACES)
        beyond_mm = max(0.0, -float(border_mm))  # outside the grid a distance grows by the way
        return corners_ras.min(axis=0) - beyond_mm, corners_ras.max(axis=0) + beyond_mm

    def sdf_mm(self, points_ras: np.ndarray) -> np.ndarray:
        """Distance (N,) in mm at (N, 3) RAS points: trilinear; outside the grid, its border plus the way to it."""
        ijk = self.geometry.ras_to_ijk_points(points_ras)
        inside = np.clip(ijk, 0, np.array(self.geometry.size_ijk) - 1)
        values = ndimage.map_coordinates(self.values_mm, inside[:, ::-1].T, order=1, mode="nearest", output=np.float64)
        return values + np.linalg.norm((ijk - inside) @ self.geometry.ijk_to_ras[:3, :3].T, axis=1)

    def gradient_at_ras(self, points_ras: np.ndarray) -> np.ndarray:
        """Gradient (N, 3) in RAS (mm per mm) at (N, 3) RAS points, by central differences one voxel wide."""
        points_ras = np.asarray(points_ras, dtype=np.float64)
        per_voxel = np.empty((len(points_ras), 3))
        for axis in range(3):
            half = 0.5 * self.geometry.ijk_to_ras[:3, axis]
            per_voxel[:, axis] = self.sdf_mm(points_ras + half) - self.sdf_mm(points_ras - half)
        return per_voxel @ self.geometry.ras_to_ijk[:3, :3]


def surface_from_mask(
    mask: np.ndarray, geometry: ImageGeometry, options: SurfaceOptions | None = None
) -> TriangleSurface:
    """Closed, smooth, outward surface of a (K, J, I) mask, islands and cavities cleaned as ``options`` say.

    Raises:
        BadInputError: the mask is empty or does not have the shape of the geometry.
    """
    options = options or SurfaceOptions()
    start_ijk, cropped = bounding_crop(mask, geometry)
    geometry = geometry.cropped(start_ijk, cropped.shape[::-1])
    cleaned, _ = clean_mask(cropped, geometry, options)
    return surface_from_grid(signed_distance_grid(cleaned, geometry, options))


def clean_mask(
    mask: np.ndarray, geometry: ImageGeometry, options: SurfaceOptions | None = None
) -> tuple[np.ndarray, CleaningReport]:
    """Drop specks and fill closed cavities of a (K, J, I) mask; returns a boolean mask and what was changed.

    Real organs come in pieces, so pieces stay unless they are below the limits; the largest one always stays.
    Pieces touch by corners (26-neighbours); cavities are closed when no face leads out (6-neighbours).
    """
    options = options or SurfaceOptions()
    start_ijk, cropped = bounding_crop(mask, geometry)
    kept, volumes = _without_specks(cropped, geometry.voxel_volume_mm3, options)
    most_voxels = options.max_hole_mm3 / geometry.voxel_volume_mm3
    filled, holes_filled = _without_cavities(kept, most_voxels) if options.fill_holes else (kept, 0)
    cleaned = np.zeros(mask.shape, dtype=bool)
    cleaned[tuple(slice(start, start + n) for start, n in zip(start_ijk[::-1], filled.shape, strict=True))] = filled
    filled_mm3 = float((filled.sum() - kept.sum()) * geometry.voxel_volume_mm3)
    return cleaned, CleaningReport(len(volumes), float(volumes.sum()), holes_filled, filled_mm3)


def signed_distance_grid(
    mask: np.ndarray, geometry: ImageGeometry, options: SurfaceOptions | None = None
) -> DistanceGrid:
    """Smoothed signed distance around a (K, J, I) mask, negative inside.

    The grid covers the mask plus the margin. Its voxels are those of the mask, with more of them between thick slices;
    at every voxel centre of the mask's own grid the sign says exactly what the mask says.
    """
    options = options or SurfaceOptions()
    start_ijk, cropped = bounding_crop(mask, geometry)
    factors = _interpolation_factors(geometry.spacing_mm, cropped.shape[::-1], options)
    # Closer to the border the smoothing would see the end of the grid and shrink the organ.
    smoothing_mm = options.smoothing_voxels * (geometry.spacing_mm / factors).max()
    margin_mm = max(options.margin_mm, 4.0 * smoothing_mm)
    margin = np.maximum(2, np.ceil(margin_mm / geometry.spacing_mm)).astype(int)
    padded = np.pad(cropped, [(m, m) for m in margin[::-1]])
    coarse = geometry.cropped(start_ijk - margin, padded.shape[::-1])
    fine_matrix = coarse.ijk_to_ras.copy()
    fine_matrix[:3, :3] /= factors
    fine = ImageGeometry(fine_matrix, (np.array(coarse.size_ijk) - 1) * factors + 1)
    values_mm = smooth_signed_distance_mm(
        padded, coarse.spacing_mm, factors, options.smoothing_voxels, options.smoothing_passes
    )
    return with_true_distances(DistanceGrid(values_mm, fine))


def with_true_distances(grid: DistanceGrid) -> DistanceGrid:
    """The grid with distances in mm where its axes are oblique to each other, by the way to its own surface.

    Distances are worked out along the axes as if these were orthogonal; the surface lies right all the same.
    """
    if grid.geometry.skew <= _LITTLE_SKEW or not (grid.values_mm < 0).any():
        return grid
    surface = surface_from_grid(grid)
    kji = np.indices(grid.geometry.shape_kji).reshape(3, -1)
    points_ras = grid.geometry.ijk_to_ras_points(kji[::-1].T.astype(np.float64))
    away_mm = MeshDistance(surface).closest(points_ras)[0].reshape(grid.values_mm.shape)
    return DistanceGrid(np.copysign(away_mm, grid.values_mm).astype(np.float32), grid.geometry)


def surface_from_grid(grid: DistanceGrid, level_mm: float = 0.0) -> TriangleSurface:
    """Closed outward surface where the grid has the value ``level_mm``, with normals from the grid's gradient."""
    spacing_mm = grid.geometry.spacing_mm
    # Values on the level itself give slivers; a wall of "outside" closes what would leave the grid.
    least = np.float32(0.01 * spacing_mm.min())
    values = np.pad(grid.values_mm, 1, constant_values=np.float32(level_mm + spacing_mm.max()))
    values = (values - np.float32(level_mm)).astype(np.float32, copy=False)
    on_level = np.abs(values) < least
    values[on_level] = np.where(values[on_level] < 0, -least, least)
    if not (values < 0).any():
        raise BadInputError(
            "Nothing lies inside the level of {level_mm} mm",
            "choose a level nearer to 0",
            "surface.no_level",
            level_mm=f"{level_mm:g}",
        )
    ijk, faces = zero_level(values)
    # VTK orients for increasing values in a right-handed grid, inwards for a distance.
    if np.linalg.det(grid.geometry.ijk_to_ras[:3, :3]) > 0:
        faces = faces[:, ::-1]
    plain = TriangleSurface.from_triangles(grid.geometry.ijk_to_ras_points(ijk - 1.0), faces)
    gradient = grid.gradient_at_ras(plain.vertices_ras)
    lengths = np.linalg.norm(gradient, axis=1, keepdims=True)
    # In gaps of about a voxel the gradient can be lost; the triangles still know.
    usable = np.einsum("ij,ij->i", gradient, plain.normals)[:, None] > 0
    normals = np.where(usable, gradient / np.where(usable, lengths, 1.0), plain.normals)
    return TriangleSurface(plain.vertices_ras, faces, normals)


def bounding_crop(mask: np.ndarray, geometry: ImageGeometry, room: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Start (i, j, k) and boolean contents, a view, of the smallest box that holds a (K, J, I) mask.

    Args:
        room: voxels left around it where the image has them.

    Raises:
        BadInputError: the mask is empty or does not have the shape of the geometry.
    """
    mask = np.asarray(mask)
    check_shape(mask, geometry)
    mask = mask if mask.dtype == bool else mask != 0
    start_kji = []
    for axis in range(3):
        used = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        if not len(used):
            raise BadInputError("The mask is empty", "choose a label or segment that has voxels", "mask.empty")
        start_kji.append(max(0, used[0] - room))
        mask = mask[(slice(None),) * axis + (slice(start_kji[-1], used[-1] + 1 + room),)]
    return np.array(start_kji[::-1]), mask


def largest_component(mask: np.ndarray) -> np.ndarray:
    """(K, J, I) bool mask of the largest piece of one that is connected through faces; it must not be empty."""
    pieces, _ = ndimage.label(mask)
    return pieces == 1 + np.bincount(pieces.ravel())[1:].argmax()


def _without_specks(mask, voxel_mm3, options):
    """The mask without pieces below the limits, and the volumes (mm^3) of those."""
    labels, _ = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    volumes = np.bincount(labels.ravel())[1:] * voxel_mm3
    small = (volumes < options.min_island_mm3) | (volumes < options.min_island_fraction * volumes.max())
    small[volumes.argmax()] = False
    kept = mask & ~np.concatenate([[False], small])[labels] if small.any() else mask
    return kept, volumes[small]


def _without_cavities(mask, most_voxels):
    """The mask with its closed cavities of up to so many voxels filled, and their number."""
    labels, n_spaces = ndimage.label(np.pad(~mask, 1, constant_values=True))
    if n_spaces == 1:
        return mask, 0
    inner = labels[1:-1, 1:-1, 1:-1]
    open_ = np.bincount(inner.ravel(), minlength=n_spaces + 1) > most_voxels
    open_[labels[0, 0, 0]], open_[0] = True, False
    return ~open_[inner], n_spaces - int(open_.sum())


def _interpolation_factors(spacing_mm, size_ijk, options):
    """Odd numbers (along i, j, k) by which the grid is refined; odd, so that voxel centres stay grid points."""
    target_mm = max(options.target_spacing_mm, spacing_mm.min())
    factors = np.maximum(1, 2 * np.floor(0.5 * (spacing_mm / target_mm - 1.0) + 0.5).astype(int) + 1)
    while np.prod(factors * np.array(size_ijk, dtype=float)) > options.max_voxels and factors.max() > 1:
        factors[factors.argmax()] -= 2
    return factors


def check_shape(mask: np.ndarray, geometry: ImageGeometry) -> None:
    """BadInputError where a (K, J, I) mask has not the size of its geometry."""
    if mask.shape != geometry.shape_kji:
        raise BadInputError(
            "The mask has the shape {shape}, its geometry {grid} (k, j, i)",
            "give the mask's own geometry",
            "mask.shape",
            shape=mask.shape,
            grid=geometry.shape_kji,
        )
