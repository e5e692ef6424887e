"""Damage on the canonical grid for training: set operations on signed distances, random in kind, place and extent.

Distances are in cells (about 3 mm of a pancreas, 5 mm of a liver), negative inside, on [z, y, x] arrays. Set operations
keep the distance right near the surface, which is all that the network is shown.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from scipy.spatial.transform import Rotation

from ..core.geometry import ImageGeometry
from ..distance.between_slices import distance_between_slices
from ..distance.drawn_planes import FEWEST_SLICES
from ..distance.smooth import smooth_distance_grid
from ..restoration.grid import voxel_fineness


@dataclass(frozen=True)
class DamageOptions:
    """What is done to an organ.

    Args:
        sparse, coarse: shares of organs that are known on a few slices, or on coarse voxels only, and otherwise right.
        smoothed: share of organs that are known on coarse voxels whose steps a refinement has smoothed already.
        least_gap_cells, most_gap_cells: way from one of the few slices to the next.
        kinds_more: of the others, how many kinds are drawn beside one, on average.
        bite, leak, island, holes, wobble, erosion, growth, truncation: how often each kind is drawn in relation to the
            others.
    """

    sparse: float = 0.22
    coarse: float = 0.13
    smoothed: float = 0.0
    least_gap_cells: int = 4
    most_gap_cells: int = 14
    kinds_more: float = 1.2
    bite: float = 1.0
    leak: float = 1.0
    island: float = 1.0
    holes: float = 0.5
    wobble: float = 1.0
    erosion: float = 0.8
    growth: float = 0.8
    truncation: float = 2.0


def damaged(
    sdf: np.ndarray, rng: np.random.Generator, options: DamageOptions = DamageOptions(), cell_mm: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """A damaged copy of an organ's distance, and the cells (float32, 0 or 1) in which it is known.

    Args:
        sdf: [z, y, x] distance in cells.
        rng: decides.
        options: what is done.
        cell_mm: edge of a cell; needed for ``smoothed`` ones, whose voxels have sizes in mm.
    """
    known = np.ones_like(sdf)
    what = rng.random()
    if what < options.sparse:
        return sparse_slices(sdf, rng, options.least_gap_cells, options.most_gap_cells)
    if what < options.sparse + options.coarse:
        return coarse(sdf, rng).astype(np.float32), known
    if what < options.sparse + options.coarse + options.smoothed:
        return smoothed_voxels(sdf, rng, cell_mm)
    names = [*KINDS, "truncation"]
    share = np.array([getattr(options, name) for name in names])
    drawn = rng.choice(names, size=1 + rng.poisson(options.kinds_more), p=share / share.sum())
    hurt = sdf
    for name in drawn:
        if name != "truncation":
            hurt = KINDS[name](hurt, rng)
    if "truncation" in drawn:
        hurt, known = truncation(hurt, rng)
    if rng.random() < 0.2:
        hurt = coarse(hurt, rng)
    if (hurt < 0).sum() < 0.1 * (sdf < 0).sum():
        return sdf, known  # hardly anything is left: nothing could be learnt from it
    return hurt.astype(np.float32), known


def bite(sdf, rng):
    """One to three ellipsoids around surface points are missing."""
    for _ in range(rng.integers(1, 4)):
        sdf = np.maximum(sdf, -_ellipsoid(sdf, _surface_cell(sdf, rng), rng, 2.0, 9.0))
    return sdf


def leak(sdf, rng):
    """One to three ellipsoids or capsules grow out of the surface."""
    for _ in range(rng.integers(1, 4)):
        centre = _surface_cell(sdf, rng)
        if rng.random() < 0.5:
            sdf = np.minimum(sdf, _ellipsoid(sdf, centre, rng, 1.5, 7.0))
        else:
            tip = centre + _direction(rng) * rng.uniform(4.0, 16.0)
            sdf = np.minimum(sdf, _capsule(sdf, centre, tip, rng.uniform(1.0, 4.0)))
    return sdf


def island(sdf, rng):
    """One to four separate pieces outside, near and far."""
    for _ in range(rng.integers(1, 5)):
        outside = np.argwhere(sdf > rng.uniform(2.0, 10.0))
        if len(outside):
            place = outside[rng.integers(len(outside))] + rng.random(3)
            sdf = np.minimum(sdf, _ellipsoid(sdf, place, rng, 0.6, 4.5))
    return sdf


def holes(sdf, rng):
    """One to four ellipsoids inside are missing."""
    inside = np.argwhere(sdf < -1.0)
    for _ in range(rng.integers(1, 5)):
        if len(inside):
            sdf = np.maximum(sdf, -_ellipsoid(sdf, inside[rng.integers(len(inside))], rng, 0.8, 4.0))
    return sdf


def truncation(sdf, rng):
    """A plane cuts 3 to 45 percent off, mostly across the long axis of the body; returns the rest, and the cells that
    are not beyond the plane, or all where nobody noticed the cut."""
    along = _along_random_axis(sdf, rng)
    level = np.quantile(np.broadcast_to(along, sdf.shape)[sdf < 0], 1 - rng.uniform(0.03, 0.45))
    known = np.ones_like(sdf)
    if rng.random() < NOTICED_SHARE:
        known = np.broadcast_to(along <= level + rng.normal(0.0, 0.4), sdf.shape).astype(np.float32)
    return np.maximum(sdf, along - level), known


def unseen_beyond_the_end(sdf, rng):
    """Float32 cells, 0 beyond a plane where the organ ends by itself: not everything that looks cut off is."""
    along = _along_random_axis(sdf, rng)
    end = np.broadcast_to(along, sdf.shape)[sdf < 0].max()
    return np.broadcast_to(along <= end + rng.uniform(-1.0, 1.5), sdf.shape).astype(np.float32)


def _along_random_axis(sdf, rng):
    """Coordinate along a random axis, mostly that of the body, up or down and slightly tilted."""
    normal = np.array([rng.choice([-1.0, 1.0]), 0.0, 0.0]) + rng.normal(0.0, 0.06, 3)
    normal = normal / np.linalg.norm(normal) if rng.random() < 0.75 else _direction(rng)
    return sum(n * index for n, index in zip(normal, np.ogrid[tuple(map(slice, sdf.shape))], strict=True))


def wobble(sdf, rng):
    """The boundary wanders in and out, as an unsure network's does."""
    return sdf + rng.uniform(0.3, 2.5) * _noise(sdf.shape, rng.uniform(1.5, 5.0), rng) + rng.normal(0.0, 0.3)


def erosion(sdf, rng):
    """Patches of the organ, up to two thirds of it, are lost, as a network's without confidence."""
    noise = _noise(sdf.shape, rng.uniform(2.5, 9.0), rng)
    lost = rng.uniform(0.05, 0.65)
    level = np.quantile(noise[sdf < 0], 1 - lost)
    return np.maximum(sdf, (noise - level) * rng.uniform(3.0, 6.0))


def growth(sdf, rng):
    """Patches around the organ are taken for it."""
    noise = _noise(sdf.shape, rng.uniform(2.0, 6.0), rng)
    reach = rng.uniform(2.0, 7.0)
    near = (sdf < reach) & (sdf > 0)
    if not near.any():
        return sdf
    level = np.quantile(noise[near], 1 - rng.uniform(0.05, 0.4))
    return np.minimum(sdf, np.maximum(sdf - reach, (level - noise) * rng.uniform(3.0, 6.0)))


def coarse(sdf, rng):
    """Voxels of one to three cells, or thick slices: the organ is known only as in or out of each."""
    voxel = np.full(3, rng.uniform(0.6, 2.4))
    if rng.random() < 0.4:
        voxel = np.full(3, rng.uniform(0.6, 1.0))
        voxel[0 if rng.random() < 0.7 else rng.integers(3)] = rng.uniform(1.0, 3.0)
    shape = np.maximum(2, np.ceil(np.array(sdf.shape) / voxel)).astype(int)
    centres = np.meshgrid(*[(np.arange(n) + 0.5) * v - 0.5 for n, v in zip(shape, voxel, strict=True)], indexing="ij")
    inside = ndimage.map_coordinates(sdf, np.array(centres), order=1, mode="nearest") < 0
    values = np.where(inside, -0.5, 0.5) * voxel.max()
    cells = np.meshgrid(*[(np.arange(n) + 0.5) / v - 0.5 for n, v in zip(sdf.shape, voxel, strict=True)], indexing="ij")
    rough = ndimage.map_coordinates(values, np.array(cells), order=1, mode="nearest")
    # Beyond the voxels at the surface the distance goes on.
    return np.where(np.abs(rough) < 0.499 * voxel.max(), rough, np.sign(rough) * np.maximum(np.abs(sdf), np.abs(rough)))


def smoothed_voxels(sdf, rng, cell_mm: float):
    """Nearly cubic voxels of 2.5 to 8 mm, at least half of each in the organ, smoothed as a refinement does
    (``smooth_distance``); returns that and cells that tell how large the voxels are (``grid.voxel_fineness``)."""
    voxel_mm = np.exp(rng.uniform(np.log(2.5), np.log(8.0)) + rng.normal(0.0, 0.1, 3))
    turn = Rotation.from_rotvec(np.radians(rng.normal(0.0, 8.0, 3))).as_matrix()
    size_mm = cell_mm * np.array(sdf.shape[::-1])
    counts = np.ceil(np.abs(turn).T @ size_mm / voxel_mm).astype(int) + 1
    # The voxels' grid lies around the middle, anyhow.
    first_mm = 0.5 * size_mm - turn @ (voxel_mm * (0.5 * (counts - 1) + rng.uniform(-0.5, 0.5, 3)))
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = turn * voxel_mm, first_mm
    geometry = ImageGeometry(matrix, tuple(map(int, counts)))
    parts = np.maximum(1, np.round(voxel_mm / (0.7 * cell_mm))).astype(int)  # samples of a voxel along each axis
    within = [(np.arange(n * part) + 0.5) / part - 0.5 for n, part in zip(counts, parts, strict=True)]
    k, j, i = np.meshgrid(*within[::-1], indexing="ij")
    samples_mm = geometry.ijk_to_ras_points(np.stack([i.ravel(), j.ravel(), k.ravel()], axis=1))
    sample_cells = (voxel_mm / parts).mean() / cell_mm
    filled = np.clip(0.5 - _sampled(sdf, samples_mm.T[::-1] / cell_mm) / sample_cells, 0.0, 1.0)
    inside = filled.reshape(np.stack([counts, parts], axis=1)[::-1].ravel()).mean(axis=(1, 3, 5)) >= 0.5
    if not inside.any():
        return sdf, np.ones_like(sdf)
    centres_mm = cell_mm * np.indices(sdf.shape).reshape(3, -1)[::-1].T
    given = (smooth_distance_grid(inside, geometry).sdf_mm(centres_mm) / cell_mm).reshape(sdf.shape)
    return given.astype(np.float32), np.full_like(sdf, voxel_fineness(voxel_mm, cell_mm))


def sparse_slices(sdf, rng, least_gap_cells: int, most_gap_cells: int):
    """Known on parallel planes only, so many cells apart and mostly across the body; returns the distance interpolated
    between them (see ``between_slices``) and the cells that lie on a plane."""
    axis = 0 if rng.random() < 0.7 else rng.integers(3)
    turn = Rotation.from_rotvec(np.radians(rng.normal(0.0, 8.0, 3))).as_matrix()
    # Rows: the planes' normal and two directions within them, in units of the local grid's steps.
    basis = np.roll(turn, -axis, axis=0)
    steps = np.array([1.0, 0.5, 0.5])
    reach = np.abs(basis) @ np.array(sdf.shape) / 2
    size = 2 * np.ceil(reach / steps).astype(int) + 1
    centre = (np.array(sdf.shape) - 1) / 2
    gap = rng.integers(least_gap_cells, most_gap_cells + 1)
    planes = np.arange(rng.integers(gap), size[0], gap)
    local = np.stack(np.meshgrid(planes, *map(np.arange, size[1:]), indexing="ij")).reshape(3, -1)
    local = (local - (size[:, None] - 1) / 2) * steps[:, None]
    drawn = _sampled(sdf, basis.T @ local + centre[:, None]).reshape(len(planes), *size[1:]) < 0
    used = drawn.any(axis=(1, 2))
    planes, drawn = planes[used], drawn[used]
    if len(planes) < FEWEST_SLICES:
        return sdf, np.ones_like(sdf)
    inside = np.zeros(size, dtype=bool)
    inside[planes] = drawn
    distance = distance_between_slices(inside, 0, planes, steps)
    cells = np.indices(sdf.shape).reshape(3, -1) - centre[:, None]
    places = (basis @ cells) / steps[:, None] + (size[:, None] - 1) / 2
    given = _sampled(distance, places).reshape(sdf.shape)
    known = np.abs(places[0][:, None] - planes).min(axis=1) <= 0.5
    return given, known.reshape(sdf.shape).astype(np.float32)


# A cut is noticed where the organ ends at the border of the image, or in a plane.
NOTICED_SHARE = 0.75
KINDS = {
    "bite": bite,
    "leak": leak,
    "island": island,
    "holes": holes,
    "wobble": wobble,
    "erosion": erosion,
    "growth": growth,
}


def _sampled(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(N,) trilinear values of a float32 [z, y, x] array at (3, N) indices; outside, those of its border."""
    size = np.array(values.shape)[:, None]
    grid = torch.from_numpy(((2.0 * places / (size - 1) - 1.0)[::-1].T).astype(np.float32))  # wants x, y, z
    volume = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))[None, None]
    sampled = torch.nn.functional.grid_sample(volume, grid[None, None, None], align_corners=True, padding_mode="border")
    return sampled.numpy().ravel()


def _noise(shape, sigma: float, rng) -> np.ndarray:
    """Smooth Gaussian noise with unit standard deviation."""
    step = max(1, int(sigma / 1.5))
    small = rng.standard_normal([n // step + 3 for n in shape]).astype(np.float32)
    small = ndimage.gaussian_filter(small, sigma / step, mode="wrap")
    at = np.meshgrid(*[np.arange(n, dtype=np.float32) / step for n in shape], indexing="ij")
    noise = (
        ndimage.map_coordinates(small, np.array(at), order=1, mode="nearest")
        if step > 1
        else small[tuple(slice(n) for n in shape)]
    )
    return noise / (noise.std() + 1e-6)


def _surface_cell(sdf, rng) -> np.ndarray:
    """A random place at the surface."""
    border = np.argwhere(np.abs(sdf) < 0.8)
    border = border if len(border) else np.argwhere(sdf < 0)
    return border[rng.integers(len(border))] + rng.random(3) - 0.5


def _direction(rng) -> np.ndarray:
    vector = rng.normal(size=3)
    return vector / np.linalg.norm(vector)


def _ellipsoid(sdf, centre, rng, least: float, most: float) -> np.ndarray:
    """Approximate distance to an ellipsoid with random axes."""
    radii = np.exp(rng.uniform(np.log(least), np.log(most))) * np.exp(rng.normal(0.0, 0.3, 3))
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    offsets = [i - c for i, c in zip(np.ogrid[tuple(map(slice, sdf.shape))], centre, strict=True)]
    scaled = sum((sum(rotation[a, b] * offsets[b] for b in range(3)) / radii[a]) ** 2 for a in range(3))
    return ((np.sqrt(scaled) - 1.0) * radii.min()).astype(np.float32)


def _capsule(sdf, start, end, radius: float) -> np.ndarray:
    """Distance to a capsule."""
    offsets = [i - c for i, c in zip(np.ogrid[tuple(map(slice, sdf.shape))], start, strict=True)]
    line = np.asarray(end) - start
    place = np.clip(sum(o * x for o, x in zip(offsets, line, strict=True)) / (line @ line), 0.0, 1.0)
    return (np.sqrt(sum((o - place * x) ** 2 for o, x in zip(offsets, line, strict=True))) - radius).astype(np.float32)
