"""From a mask to a smooth closed surface, by way of a signed distance grid that keeps every voxel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .errors import BadInputError
from .geometry import ImageGeometry
from .mesh import TriangleSurface


@dataclass(frozen=True)
class SurfaceOptions:
    """How a mask becomes a surface.

    Args:
        smoothing_voxels: standard deviation of the smoothing, in voxels of the working grid; 0 switches it off.
        smoothing_passes: how often smoothing and the voxel constraint alternate.
        min_island_mm3: separate pieces below this volume are dropped.
        min_island_fraction: pieces below this share of the largest piece are dropped, too.
        fill_holes: fill cavities that are closed on all sides.
        margin_mm: how far the grid reaches beyond the mask.
        target_spacing_mm: thick slices are interpolated to about this spacing (or the in-plane one where larger).
        max_voxels: interpolation between slices stops at this grid size.
    """

    smoothing_voxels: float = 1.0
    smoothing_passes: int = 3
    min_island_mm3: float = 5.0
    min_island_fraction: float = 0.0
    fill_holes: bool = True
    margin_mm: float = 8.0
    target_spacing_mm: float = 1.0
    max_voxels: int = 60_000_000


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

    def at_ras(self, points_ras: np.ndarray) -> np.ndarray:
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
            per_voxel[:, axis] = self.at_ras(points_ras + half) - self.at_ras(points_ras - half)
        return per_voxel @ self.geometry.ras_to_ijk[:3, :3]


def surface_from_mask(
    mask: np.ndarray, geometry: ImageGeometry, options: SurfaceOptions | None = None
) -> TriangleSurface:
    """Closed, smooth, outward surface of a (K, J, I) mask, islands and cavities cleaned as ``options`` say."""
    options = options or SurfaceOptions()
    start_ijk, cropped = _bounding_crop(mask)
    geometry = geometry.cropped(start_ijk, cropped.shape[::-1])
    cleaned, _ = clean_mask(cropped, geometry, options)
    return surface_from_grid(signed_distance_grid(cleaned, geometry, options))


def clean_mask(
    mask: np.ndarray, geometry: ImageGeometry, options: SurfaceOptions | None = None
) -> tuple[np.ndarray, CleaningReport]:
    """Drop specks and fill closed cavities of a (K, J, I) mask.

    Real organs come in pieces, so pieces stay unless they are below the limits; the largest one always stays.
    Pieces touch by corners (26-neighbours); cavities are closed when no face leads out (6-neighbours).
    """
    options = options or SurfaceOptions()
    start_ijk, cropped = _bounding_crop(mask)
    voxel_mm3 = geometry.voxel_volume_mm3
    kept = cropped.copy()
    labels, n_pieces = ndimage.label(cropped, structure=np.ones((3, 3, 3)))
    volumes = np.bincount(labels.ravel())[1:] * voxel_mm3
    small = (volumes < options.min_island_mm3) | (volumes < options.min_island_fraction * volumes.max())
    small[volumes.argmax()] = False
    if small.any():
        kept &= ~np.concatenate([[False], small])[labels]
    holes_filled = filled_mm3 = 0
    if options.fill_holes:
        labels, n_spaces = ndimage.label(np.pad(~kept, 1, constant_values=True))
        holes_filled = n_spaces - 1
        if holes_filled:
            cavities = (labels != labels[0, 0, 0])[1:-1, 1:-1, 1:-1] & ~kept
            filled_mm3 = float(cavities.sum() * voxel_mm3)
            kept |= cavities
    cleaned = np.zeros(mask.shape, dtype=bool)
    cleaned[tuple(slice(s, s + n) for s, n in zip(start_ijk[::-1], kept.shape, strict=True))] = kept
    return cleaned, CleaningReport(int(small.sum()), float(volumes[small].sum()), int(holes_filled), float(filled_mm3))


def signed_distance_grid(
    mask: np.ndarray, geometry: ImageGeometry, options: SurfaceOptions | None = None
) -> DistanceGrid:
    """Smoothed signed distance around a (K, J, I) mask, negative inside.

    The grid covers the mask plus the margin. Its voxels are those of the mask, with more of them between thick slices;
    at every voxel centre of the mask's own grid the sign says exactly what the mask says.
    """
    options = options or SurfaceOptions()
    start_ijk, cropped = _bounding_crop(mask)
    margin = np.maximum(2, np.ceil(options.margin_mm / geometry.spacing_mm)).astype(int)
    padded = np.pad(cropped, [(m, m) for m in margin[::-1]])
    geometry = geometry.cropped(start_ijk - margin, padded.shape[::-1])
    factors = _interpolation_factors(geometry, options)
    fine = _fine_geometry(geometry, factors)
    distance_mm = _signed_distance(padded, geometry.spacing_mm, factors)
    smoothed = _smooth_keeping_voxels(distance_mm, padded, fine.spacing_mm, factors, options)
    return DistanceGrid(smoothed, fine)


def surface_from_grid(grid: DistanceGrid, level_mm: float = 0.0) -> TriangleSurface:
    """Closed outward surface where the grid has the value ``level_mm``, with normals from the grid's gradient."""
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

    # Values on the level itself give slivers; an outer wall of "outside" closes what would leave the grid.
    least = 0.01 * grid.geometry.spacing_mm.min()
    values = np.pad(grid.values_mm - np.float32(level_mm), 1, constant_values=np.float32(np.inf))
    values[np.isinf(values)] = grid.geometry.spacing_mm.max()
    values = np.where(np.abs(values) < least, np.where(values < 0, -least, least), values).astype(np.float32)
    if not (values < 0).any():
        raise BadInputError(f"nothing lies inside the level of {level_mm:g} mm: no surface can be made")
    image = vtk.vtkImageData()
    image.SetDimensions(*values.shape[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(values.ravel(), deep=False))
    contour = vtk.vtkFlyingEdges3D()
    contour.SetInputData(image)
    contour.SetValue(0, 0.0)
    contour.ComputeNormalsOff()
    contour.ComputeGradientsOff()
    contour.ComputeScalarsOff()
    contour.Update()
    output = contour.GetOutput()
    ijk = vtk_to_numpy(output.GetPoints().GetData()).astype(np.float64) - 1.0
    faces = vtk_to_numpy(output.GetPolys().GetConnectivityArray()).reshape(-1, 3)
    if np.linalg.det(grid.geometry.ijk_to_ras[:3, :3]) > 0:
        faces = faces[:, ::-1]
    vertices = grid.geometry.ijk_to_ras_points(ijk)
    gradient = grid.gradient_at_ras(vertices)
    lengths = np.linalg.norm(gradient, axis=1, keepdims=True)
    return TriangleSurface(vertices, faces, gradient / np.where(lengths > 0, lengths, 1.0))


def _bounding_crop(mask):
    """Start (i, j, k) and contents of the smallest box that holds the mask."""
    mask = np.asarray(mask)
    mask = mask if mask.dtype == bool else mask != 0
    if mask.ndim != 3:
        raise BadInputError(f"a mask must have three dimensions, and this one has {mask.ndim}")
    box = []
    for axis in range(3):
        used = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        if not len(used):
            raise BadInputError("the mask is empty: choose a label or segment that has voxels")
        box.append(slice(used[0], used[-1] + 1))
        mask = mask[(slice(None),) * axis + (box[-1],)]
    return np.array([b.start for b in box[::-1]]), mask


def _interpolation_factors(geometry, options):
    """Odd numbers (along i, j, k) by which the grid is refined; odd, so that voxel centres stay grid points."""
    target = max(options.target_spacing_mm, geometry.spacing_mm.min())
    factors = 2 * np.floor(0.5 * (geometry.spacing_mm / target - 1.0) + 0.5).astype(int) + 1
    factors = np.maximum(factors, 1)
    while np.prod(factors * np.array(geometry.size_ijk, dtype=float)) > options.max_voxels and factors.max() > 1:
        factors[factors.argmax()] -= 2
    return factors


def _fine_geometry(geometry, factors):
    matrix = geometry.ijk_to_ras.copy()
    matrix[:3, :3] /= factors
    return ImageGeometry(matrix, (np.array(geometry.size_ijk) - 1) * factors + 1)


def _signed_distance(mask, spacing_mm, factors):
    """Signed distance on the refined grid: exact at the slices, linear between them (shape-based interpolation)."""
    for axis, factor in enumerate(factors[::-1]):
        mask = np.repeat(mask, factor, axis=axis) if factor > 1 else mask
    step_kji = (spacing_mm / factors)[::-1]
    values = _distance_to_boxes(~mask, step_kji) - _distance_to_boxes(mask, step_kji)
    for axis, factor in enumerate(factors[::-1]):
        if factor > 1:
            values = _interpolate_between_slices(values, axis, factor)
    return values


def _distance_to_boxes(mask, step_kji):
    """Distance (mm) from the centres of the voxels in the mask to the boundary of the nearest one outside; else 0."""
    nearest = ndimage.distance_transform_edt(mask, sampling=step_kji, return_distances=False, return_indices=True)
    squared = np.zeros(mask.shape, dtype=np.float32)
    for axis, step in enumerate(step_kji.astype(np.float32)):
        own = np.arange(mask.shape[axis], dtype=np.int32).reshape(np.where(np.arange(3) == axis, -1, 1))
        part = np.abs(nearest[axis] - own).astype(np.float32)
        # Voxels are boxes: their boundary is half a step nearer than their centre.
        part = np.maximum(step * (part - np.float32(0.5)), 0.0)
        squared += part * part
    return np.sqrt(squared)


def _interpolate_between_slices(values, axis, factor):
    values = np.moveaxis(values, axis, 0)
    slices = values[factor // 2 :: factor]
    fine = np.empty(((len(slices) - 1) * factor + 1, *slices.shape[1:]), dtype=np.float32)
    fine[::factor] = slices
    for step in range(1, factor):
        part = np.float32(step / factor)
        fine[step::factor] = (1 - part) * slices[:-1] + part * slices[1:]
    return np.ascontiguousarray(np.moveaxis(fine, 0, axis))


def _smooth_keeping_voxels(distance_mm, mask, spacing_mm, factors, options):
    """Smooth the distance, holding the sign at the mask's voxel centres; far from the surface it stays as it was."""
    centres = tuple(slice(None, None, f) for f in factors[::-1])
    least = np.float32(0.1 * spacing_mm.min())
    sigma_kji = (options.smoothing_voxels * spacing_mm.max() / spacing_mm)[::-1]
    smooth = distance_mm
    for _ in range(options.smoothing_passes if options.smoothing_voxels > 0 else 0):
        once = ndimage.gaussian_filter(smooth, sigma_kji, truncate=3.0)
        # 2 G - G G keeps curvature to second order: plain smoothing would shrink the organ.
        smooth = 2 * once - ndimage.gaussian_filter(once, sigma_kji, truncate=3.0)
        at_centres = smooth[centres]
        np.minimum(at_centres, -least, out=at_centres, where=mask)
        np.maximum(at_centres, least, out=at_centres, where=~mask)
    near, far = 3.0 * spacing_mm.max(), 6.0 * spacing_mm.max()
    weight = np.clip((np.abs(distance_mm) - near) / (far - near), 0.0, 1.0)
    return smooth + weight * (distance_mm - smooth)
