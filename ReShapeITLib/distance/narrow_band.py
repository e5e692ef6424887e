"""Zero level set of a signed distance field, as a closed mesh or as voxels, asking the field only near its surface.

A field is any callable ``sdf(points (N, 3)) -> (N,)``, negative inside. Grids are filled coarse to fine. A new sample p
with the already filled samples c_1..c_n around it obeys, for a field that changes by at most L per unit of length,

    |f(p) - mean f(c_i)| <= L * mean |p - c_i|

so its sign is certain, and the field is not asked, where the mean of its neighbours is larger than that bound.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np

from ..core.errors import BadInputError
from ..core.geometry import ImageGeometry
from .flying_edges import zero_level

Field = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class NarrowBandOptions:
    """How a field is asked.

    Args:
        lipschitz: bound on the change of the field per unit of length; 1 for an exact distance. Larger is safer
            for fields that are only about a distance, and asks more points.
        coarse_stride: samples of the fine grid per sample of the coarsest one, along its finest axis.
        look_ahead: share of the finer levels' bounds that is added while coarse levels are filled; asking a few
            coarse samples more saves many fine ones.
        batch_size: most points given to the field at once.
    """

    lipschitz: float = 1.3
    coarse_stride: int = 8
    look_ahead: float = 0.5
    batch_size: int = 131072

    def __post_init__(self):
        if not self.lipschitz > 0 or self.batch_size < 1 or self.look_ahead < 0:
            raise ValueError("lipschitz and batch_size must be positive, look_ahead not negative")
        if self.coarse_stride < 1 or self.coarse_stride & (self.coarse_stride - 1):
            raise ValueError(f"coarse_stride must be a power of two, not {self.coarse_stride}")


@dataclass(frozen=True, eq=False)
class SampleGrid:
    """Samples ``origin + index @ steps`` in the field's frame; rows of ``steps`` (3, 3) belong to the array axes."""

    origin: np.ndarray
    steps: np.ndarray
    shape: tuple[int, int, int]

    def points(self, index: np.ndarray) -> np.ndarray:
        """(N, 3) points of (N, 3) indices in array order."""
        return self.origin + index @ self.steps


def extract_zero_level(
    sdf: Field,
    bounds: tuple[np.ndarray, np.ndarray],
    resolution: int = 128,
    options: NarrowBandOptions = NarrowBandOptions(),
    *,
    cell_size: float | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Closed mesh of the zero level, the same as that of a dense grid.

    Args:
        sdf: signed field, negative inside, in any frame.
        bounds: lower (3,) and upper (3,) corner in the field's frame; a surface that crosses them is closed there.
        resolution: cubic cells along the longest edge of the bounds.
        cell_size: edge length of a cell in the field's unit; replaces ``resolution``.

    Returns:
        vertices (V, 3) float64 in the field's frame and outward faces (F, 3) int32.

    Raises:
        BadInputError: no surface within the bounds, or a field that is not finite.
    """
    lower, upper = (np.asarray(corner, dtype=np.float64) for corner in bounds)
    if not (np.isfinite(lower).all() and np.isfinite(upper).all() and (upper > lower).all()):
        raise BadInputError(
            "The bounds of the surface are not a box", "give an upper corner above the lower one", "surface.bounds"
        )
    cell = float((upper - lower).max()) / resolution if cell_size is None else float(cell_size)
    if not cell > 0:
        raise BadInputError("The resolution of the surface must be positive", "give a length in mm", "surface.cell")
    counts = np.maximum(np.ceil((upper - lower) / cell - 1e-6).astype(int), 1)
    # Array axes are z, y, x, as marching wants them.
    grid = SampleGrid(lower, cell * np.eye(3)[::-1], tuple(int(n) + 1 for n in counts[::-1]))
    values = narrow_band_values(sdf, grid, options)
    if not (values < 0).any():
        raise BadInputError(
            "The shape has no surface inside the given bounds",
            "check the alignment and the template",
            "surface.outside",
        )
    return _march(values, lower, cell)


def label_mask(sdf_ras: Field, geometry: ImageGeometry, bounds_ras: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """(K, J, I) bool voxels of the whole grid whose centres lie inside; arguments as of :func:`label_voxels`."""
    whole = np.zeros(geometry.shape_kji, dtype=bool)
    part, start_ijk = label_voxels(sdf_ras, geometry, bounds_ras)
    whole[tuple(slice(s, s + n) for s, n in zip(start_ijk[::-1], part.shape, strict=True))] = part
    return whole


def label_voxels(
    sdf_ras: Field,
    geometry: ImageGeometry,
    bounds_ras: tuple[np.ndarray, np.ndarray],
    options: NarrowBandOptions = NarrowBandOptions(),
) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Which voxel centres lie inside, in the part of a grid that the bounds touch.

    Args:
        sdf_ras: signed field at RAS mm points, negative inside.
        geometry: grid of any spacing, orientation and handedness.
        bounds_ras: lower (3,) and upper (3,) corner of a box in RAS mm that holds the shape.

    Returns:
        bool mask (k, j, i) of the touched box and its first voxel (i, j, k) in the grid; an empty mask where the
        bounds miss the grid.
    """
    touched = geometry.box_around(bounds_ras)[::-1]
    start, size = [s.start for s in touched], [s.stop - s.start for s in touched]
    if 0 in size:
        return np.zeros((0, 0, 0), dtype=bool), (0, 0, 0)
    box = geometry.cropped(start, size)
    grid = SampleGrid(box.origin_ras, box.ijk_to_ras[:3, :3].T[::-1], box.shape_kji)
    mask = narrow_band_values(sdf_ras, grid, options) < 0
    return mask, tuple(int(n) for n in start)


def narrow_band_values(sdf: Field, grid: SampleGrid, options: NarrowBandOptions) -> np.ndarray:
    """Field on a grid: exact beside the surface, elsewhere of the right sign and not larger than it is.

    Returns:
        (grid.shape) float32 values; both ends of every grid edge that the surface crosses are exact.
    """
    lengths = np.linalg.norm(grid.steps, axis=1)
    strides = _coarse_strides(lengths, grid.shape, options.coarse_stride)
    coarse = np.moveaxis(np.indices([-(-(n - 1) // s) + 1 for n, s in zip(grid.shape, strides, strict=True)]), 0, -1)
    values = _ask(sdf, grid, coarse.reshape(-1, 3) * strides, options).reshape(coarse.shape[:3])
    known = np.ones(values.shape, dtype=bool)
    while strides.max() > 1:
        steps = strides * lengths
        # Long axes first: the samples become as even as the grid allows.
        halved = (strides > 1) & (steps > 0.7 * steps[strides > 1].max())
        strides = np.where(halved, strides // 2, strides)
        values, known = _refine(sdf, grid, values, known, halved, strides, options)
    crop = tuple(slice(n) for n in grid.shape)
    values, known = np.ascontiguousarray(values[crop]), known[crop]
    _complete_crossed_edges(sdf, grid, values, known, options)
    return values


def _coarse_strides(lengths: np.ndarray, shape: tuple, coarse_stride: int) -> np.ndarray:
    """(3,) powers of two that make the steps of the coarsest grid about equally long."""
    wanted = coarse_stride * lengths.min() / lengths
    strides = 2 ** np.maximum(np.round(np.log2(wanted)), 0).astype(int)
    # A stride longer than the grid would only ask points outside it.
    longest = 2 ** np.ceil(np.log2(np.maximum(np.array(shape) - 1, 1))).astype(int)
    return np.minimum(strides, longest)


def _refine(sdf, grid, coarse, coarse_known, halved, strides, options) -> tuple[np.ndarray, np.ndarray]:
    """Values and known flags with one new sample between every two along the ``halved`` axes."""
    shape = [2 * n - 1 if h else n for n, h in zip(coarse.shape, halved, strict=True)]
    values, known = np.empty(shape, dtype=np.float32), np.empty(shape, dtype=bool)
    old = tuple(slice(None, None, 2 if h else 1) for h in halved)
    values[old], known[old] = coarse, coarse_known
    # All finer levels together go at most this far from a sample of this level, along each axis.
    extra = options.look_ahead * options.lipschitz * _mean_distance(grid, strides - 1)
    # A sample that is new along several axes lies amid a face or a cell: one class of samples per set of axes.
    for odd in product(*[(False, True) if h else (False,) for h in halved]):
        if not any(odd):
            continue
        mean = coarse
        for axis in np.flatnonzero(odd):
            ahead, behind = [slice(None)] * 3, [slice(None)] * 3
            ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
            mean = 0.5 * (mean[tuple(ahead)] + mean[tuple(behind)])
        bound = options.lipschitz * _mean_distance(grid, np.where(odd, strides, 0))
        near = np.abs(mean) <= bound + extra
        filled = mean - np.copysign(np.float32(bound), mean)
        index = np.argwhere(near) * np.where(halved, 2, 1) + np.array(odd)
        filled[near] = _ask(sdf, grid, index * strides, options)
        new = tuple(slice(int(o), None, 2 if h else 1) for o, h in zip(odd, halved, strict=True))
        values[new], known[new] = filled, near
    return values, known


def _mean_distance(grid: SampleGrid, offset: np.ndarray) -> float:
    """Mean distance of a new sample to the old ones around it, at ``+- offset`` (3,) indices along each axis."""
    signs = np.array(list(product((-1.0, 1.0), repeat=3)))
    return float(np.linalg.norm((signs * offset) @ grid.steps, axis=1).mean())


def _complete_crossed_edges(sdf, grid, values, known, options) -> None:
    """Ask, in place, both ends of every grid edge that the surface crosses, until no end is missing."""
    while True:
        missing = np.zeros(values.shape, dtype=bool)
        inside = values < 0
        for axis in range(3):
            ahead, behind = [slice(None)] * 3, [slice(None)] * 3
            ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
            ahead, behind = tuple(ahead), tuple(behind)
            crossed = inside[ahead] != inside[behind]
            missing[ahead] |= crossed
            missing[behind] |= crossed
        missing &= ~known
        if not missing.any():
            return
        values[missing] = _ask(sdf, grid, np.argwhere(missing), options)
        known |= missing


def _ask(sdf: Field, grid: SampleGrid, index: np.ndarray, options: NarrowBandOptions) -> np.ndarray:
    """(N,) float32 values at (N, 3) grid indices."""
    values = np.empty(len(index), dtype=np.float32)
    for first in range(0, len(index), options.batch_size):
        part = slice(first, first + options.batch_size)
        values[part] = np.asarray(sdf(grid.points(index[part]))).reshape(-1)
    if not np.isfinite(values).all():
        raise BadInputError(
            "The shape's distance field is not finite everywhere",
            "use another template, its file or the fit is damaged",
            "field.not_finite",
        )
    return values


def _march(values: np.ndarray, lower: np.ndarray, cell: float) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) and outward faces (F, 3) of the zero level of a (z, y, x) array of cubic cells."""
    # A sample right on the surface would give faces without area.
    least = np.float32(1e-4 * cell)
    values = np.where(np.abs(values) < least, np.where(values < 0, -least, least), values)
    padded = np.pad(values, 1, constant_values=np.float32(np.abs(values).max() + cell))
    vertices, faces = zero_level(padded)
    if _signed_volume(vertices, faces) < 0:
        faces = faces[:, ::-1]
    return lower + cell * (vertices - 1.0), np.ascontiguousarray(faces, dtype=np.int32)


def _signed_volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6.0)
