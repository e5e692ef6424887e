"""Image and organs on one isotropic working grid around an organ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..core.geometry import ImageGeometry
from ..core.parallel import gaussian_filter
from ..distance.protocol import Box, SignedDistance

CELL_MM = 2.0
# The grid reaches this far beyond the organ; surroundings tell what the organ is not.
MARGIN_MM = 24.0
# Far from a surface its distance is interpolated between every second cell.
_COARSE, _EXACT_MM = 2, 5.0
# Averages what lies between two cells before the image is sampled.
_BLUR_MM, _TRUNCATE = 0.8, 2.0
# A scan is read in layers, so that no more of it than that is held in floats.
_LAYERS_AT_ONCE, _REACH_MM = 32, 6.0


@dataclass(frozen=True, eq=False)
class Image:
    """Voxels (K, J, I) of any number type, their geometry, and the file or node they are from."""

    voxels: np.ndarray
    geometry: ImageGeometry
    source: str = "the image"


def working_grid(box: Box, cell_mm: float = CELL_MM, margin_mm: float = MARGIN_MM) -> ImageGeometry:
    """Cells along the RAS axes that hold a box (RAS mm) and a margin."""
    lower, upper = (np.asarray(corner, dtype=np.float64) for corner in box)
    counts = np.ceil((upper - lower + 2.0 * margin_mm) / cell_mm).astype(int) + 1
    return ImageGeometry.from_parts(counts.tolist(), np.full(3, cell_mm), lower - margin_mm)


def cropped_grid(grid: ImageGeometry, shape_mm: np.ndarray) -> tuple[tuple[slice, ...], ImageGeometry]:
    """Slices, and their grid, of what lies near an organ: small components of the given one may be far away.

    Args:
        shape_mm: (K, J, I) signed distance on the grid.
    """
    found = ndimage.find_objects((shape_mm < MARGIN_MM - CELL_MM).astype(np.int8))
    if not found:
        return (slice(None),) * 3, grid
    return found[0], grid.of_box(found[0])


def sampled_image(image: Image, grid: ImageGeometry) -> tuple[np.ndarray, np.ndarray]:
    """The image on a grid, and which cells it covers.

    Returns:
        (K, J, I) float32 values, those of the border outside the image, and (K, J, I) bool.
    """
    values, covered = np.zeros(grid.shape_kji, np.float32), np.zeros(grid.shape_kji, bool)
    i, j, k = grid.size_ijk
    for first in range(0, k, _LAYERS_AT_ONCE):
        part = slice(first, min(first + _LAYERS_AT_ONCE, k))
        values[part], covered[part] = _sampled(image, grid.cropped((0, 0, first), (i, j, part.stop - first)))
    return values, covered


def _sampled(image: Image, grid: ImageGeometry) -> tuple[np.ndarray, np.ndarray]:
    corners_ras = grid.corners_ras
    reach_mm = max(_REACH_MM, 1.5 * float(image.geometry.spacing_mm.max()))
    box = image.geometry.box_around((corners_ras.min(0) - reach_mm, corners_ras.max(0) + reach_mm))
    part = image.voxels[box].astype(np.float32)
    if not part.size:
        return np.zeros(grid.shape_kji, np.float32), np.zeros(grid.shape_kji, bool)
    source = image.geometry.cropped([s.start for s in box[::-1]], part.shape[::-1])
    sigma = np.where(source.spacing_mm < grid.spacing_mm.min(), _BLUR_MM / source.spacing_mm, 0.0)
    to_source = image.geometry.ras_to_ijk @ grid.ijk_to_ras
    matrix, offset = to_source[:3, :3][::-1, ::-1], to_source[:3, 3][::-1]
    start, shape = np.array([s.start for s in box]), grid.shape_kji
    if np.abs(matrix - np.diag(matrix.diagonal())).max() < 1e-9:
        # Along common axes blur and sampling are one small matrix for each, which is several times as fast.
        values = part
        for axis in (2, 1, 0):
            along = _sampling(
                part.shape[axis], shape[axis], matrix[axis, axis], (offset - start)[axis], sigma[2 - axis]
            )
            values = np.moveaxis(np.tensordot(along, values, axes=(1, axis)), 0, axis)
    else:
        part = gaussian_filter(part, sigma[::-1], truncate=_TRUNCATE)
        values = ndimage.affine_transform(part, matrix, offset - start, shape, order=1, mode="nearest")
    k, j, i = np.ogrid[tuple(slice(n) for n in shape)]
    places = (row[0] * k + row[1] * j + row[2] * i + shift for row, shift in zip(matrix, offset, strict=True))
    ends = zip(places, image.geometry.shape_kji, strict=True)
    return values, np.logical_and.reduce([(place > -0.5) & (place < n - 0.5) for place, n in ends])


def _sampling(n_from: int, n_to: int, step: float, first: float, sigma: float) -> np.ndarray:
    """(n_to, n_from) float32: the blur of a line of values, and linear interpolation at ``first + step * n`` on it."""
    line = np.eye(n_from, dtype=np.float32)
    line = ndimage.gaussian_filter1d(line, sigma, axis=0, truncate=_TRUNCATE) if sigma > 0 else line
    places = np.clip(first + step * np.arange(n_to), 0.0, n_from - 1.0)
    below = np.minimum(places.astype(int), max(n_from - 2, 0))
    share = (places - below).astype(np.float32)[:, None]
    return (1.0 - share) * line[below] + share * line[np.minimum(below + 1, n_from - 1)]


def sampled_distance(organ: SignedDistance, grid: ImageGeometry) -> np.ndarray:
    """(K, J, I) float32 signed distance in mm: exact near the surface, interpolated far from it."""
    coarse_size = [-(-(n - 1) // _COARSE) + 1 for n in grid.size_ijk]
    steps = grid.ijk_to_ras.copy()
    steps[:3, :3] *= _COARSE
    coarse = _asked(organ, ImageGeometry(steps, coarse_size), None)
    values = ndimage.affine_transform(
        coarse, np.full(3, 1.0 / _COARSE), output_shape=grid.shape_kji, order=1, mode="nearest"
    )
    near = np.abs(values) < _EXACT_MM
    values[near] = _asked(organ, grid, near)
    return values


def _asked(organ: SignedDistance, grid: ImageGeometry, where: np.ndarray | None) -> np.ndarray:
    if where is None:
        kji = np.moveaxis(np.indices(grid.shape_kji), 0, -1).reshape(-1, 3)
        return organ.sdf_mm(grid.ijk_to_ras_points(kji[:, ::-1])).astype(np.float32).reshape(grid.shape_kji)
    return organ.sdf_mm(grid.ijk_to_ras_points(np.argwhere(where)[:, ::-1])).astype(np.float32)
