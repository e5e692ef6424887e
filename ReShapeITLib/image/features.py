"""Numbers that tell organ from surroundings, for each cell of a band around the organ's surface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from ..core.parallel import gaussian_filter
from .band import CELL_MM
from .brightness import compared

# The band: from so deep inside the refined surface to so far outside it.
_INSIDE_MM, _OUTSIDE_MM = 10.0, 16.0
_FARTHEST_MM = 20.0
_OFFSETS_MM = (-8.0, -5.0, -2.5, 2.5, 5.0, 8.0)
_SHELLS_MM = (-8.0, -5.5, -3.5, -1.5, 0.5, 2.5, 4.5, 7.0, 10.0)  # borders between shells along a surface
_SHELL_CELLS = 2.0  # standard deviation of their means along the surface, in coarse cells of 4 mm

GEOMETRIC = ("given_mm", "shape_mm", "shape_less_given_mm")
_SCALES = ("0", "2", "4", "8")
NAMES = (
    *GEOMETRIC,
    *(f"sd_{scale}" for scale in _SCALES),
    *(f"ratio_{scale}" for scale in _SCALES),
    "texture",
    "steepness",
    "along_normal",
    "from_core",
    "from_ring",
    "contrast",
    *(f"sd_at_{offset}" for offset in _OFFSETS_MM),
    *(f"ratio_at_{offset}" for offset in _OFFSETS_MM),
    *(f"sd_shell_{shell}" for shell in range(len(_SHELLS_MM) - 1)),
    *(f"ratio_shell_{shell}" for shell in range(len(_SHELLS_MM) - 1)),
    *(f"normal_{axis}" for axis in "kji"),
    "sd_16",
    "ratio_16",
)


@dataclass(frozen=True, eq=False)
class Band:
    """Features of the cells beside the surface.

    Args:
        where: (K, J, I) bool cells of the working grid.
        features: (N, len(NAMES)) float32, in the order of ``where``.
        separability: share of pairs of an organ's and a surrounding cell that the brightness's likelihood tells apart.
    """

    where: np.ndarray
    features: np.ndarray
    separability: float


def band_features(
    image: np.ndarray,
    covered: np.ndarray,
    given_mm: np.ndarray,
    shape_mm: np.ndarray,
    chosen: Callable[[np.ndarray], np.ndarray] = lambda band: band,
) -> Band | None:
    """Features on the working grid; None where the image tells nothing of the organ (no core, or all of one value).

    Args:
        image: (K, J, I) float32 values.
        covered: (K, J, I) bool, which cells the image covers.
        given_mm, shape_mm: (K, J, I) signed distances of the given organ and of the refined one.
        chosen: cells of the band, (K, J, I) bool, whose features are wanted; training needs some alone.
    """
    where = covered & (shape_mm > -_INSIDE_MM) & (shape_mm < _OUTSIDE_MM)
    brightness = compared(image, covered, np.maximum(given_mm, shape_mm), np.minimum(given_mm, shape_mm))
    if brightness is None or not where.any():
        return None
    sds, ratio = brightness.sds, brightness.ratio
    where = chosen(where)
    columns = [np.clip(v[where], -_FARTHEST_MM, _FARTHEST_MM) for v in (given_mm, shape_mm, shape_mm - given_mm)]
    sds_smooth, ratio_smooth = _smooth(sds, 1.0), _smooth(ratio, 1.0)
    at = _Coarse(where)
    sds_coarse, ratio_coarse = at.of(sds_smooth), at.of(ratio_smooth)
    for fine, smooth, coarse in ((sds, sds_smooth, sds_coarse), (ratio, ratio_smooth, ratio_coarse)):
        columns += [fine[where], smooth[where]]
        columns += [at.cells(_smooth(coarse, sigma)) for sigma in (0.9, 2.0)]
    columns.append(at.cells(_spread(at.of(sds), sds_coarse)))
    columns += _edges(sds_smooth, shape_mm, where)
    columns += _local_means(at, sds_coarse, brightness.core, brightness.ring, columns[4])
    columns += _profiles((sds_smooth, ratio_smooth), shape_mm, where)
    columns += _shells(at, (sds_coarse, ratio_coarse), at.of(shape_mm), at.of(covered.astype(np.float32)))
    columns += _normals(shape_mm, np.nonzero(where))
    columns += [at.cells(_smooth(coarse, 4.0)) for coarse in (sds_coarse, ratio_coarse)]
    return Band(where, np.stack(columns, dtype=np.float32, casting="same_kind").T, brightness.separability)


def coarser(fine: np.ndarray) -> np.ndarray:
    """(K/2, J/2, I/2) mean of each two by two by two cells."""
    padded = np.pad(fine, [(0, n % 2) for n in fine.shape], mode="edge")
    for _ in range(3):  # the axes take turns
        padded = np.moveaxis(0.5 * (padded[0::2] + padded[1::2]), 0, -1)
    return np.ascontiguousarray(padded)


def finer(coarse: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(K, J, I) values of half-sized cells, linear between the centres of the coarse ones."""
    values = torch.from_numpy(coarse)[None, None]
    values = torch.nn.functional.interpolate(values, scale_factor=2, mode="trilinear", align_corners=False)
    return values[0, 0].numpy()[tuple(slice(n) for n in shape)]


class _Coarse:
    """Cells twice as large, where wide averages are taken; and back to the band."""

    def __init__(self, where: np.ndarray):
        self._where = where

    def of(self, fine: np.ndarray) -> np.ndarray:
        """(K/2, J/2, I/2) mean of each two by two by two cells."""
        return coarser(fine)

    def cells(self, coarse: np.ndarray) -> np.ndarray:
        """(N,) values at the band's cells."""
        return finer(coarse, self._where.shape)[self._where]


def _spread(sds: np.ndarray, smooth: np.ndarray) -> np.ndarray:
    return np.sqrt(_smooth(np.square(sds - smooth), 1.0))


def _edges(smooth: np.ndarray, shape_mm: np.ndarray, where: np.ndarray) -> list[np.ndarray]:
    """Steepness of the image, and its part along the normal, in standard deviations a mm."""
    place = np.nonzero(where)
    steps = [_difference(smooth, place, axis) for axis in range(3)]
    normal = _normals(shape_mm, place)
    return [np.sqrt(sum(s * s for s in steps)), sum(s * n for s, n in zip(steps, normal, strict=True))]


def _difference(values: np.ndarray, place: tuple[np.ndarray, ...], axis: int) -> np.ndarray:
    ahead, behind = list(place), list(place)
    ahead[axis] = np.minimum(place[axis] + 1, values.shape[axis] - 1)
    behind[axis] = np.maximum(place[axis] - 1, 0)
    return (values[tuple(ahead)] - values[tuple(behind)]) / (2.0 * CELL_MM)


def _normals(distance_mm: np.ndarray, place: tuple[np.ndarray, ...]) -> list[np.ndarray]:
    steps = [_difference(distance_mm, place, axis) for axis in range(3)]
    length = np.maximum(np.sqrt(sum(s * s for s in steps)), 1e-3)
    return [s / length for s in steps]


def _local_means(
    at: _Coarse, sds: np.ndarray, core: np.ndarray, ring: np.ndarray, here: np.ndarray
) -> list[np.ndarray]:
    """The cell against the organ and the surroundings nearby, and these two against each other."""
    means = []
    for part, sigma in ((core, 3.0), (ring, 3.0)):
        weight = at.of(part.astype(np.float32))
        whole = float((weight * sds).sum() / weight.sum())
        above = _smooth(weight, sigma) + np.float32(1e-3)
        means.append(at.cells((_smooth(weight * sds, sigma) + np.float32(1e-3 * whole)) / above))
    return [here - means[0], here - means[1], means[0] - means[1]]


def _profiles(images: tuple[np.ndarray, ...], shape_mm: np.ndarray, where: np.ndarray) -> list[np.ndarray]:
    """Values along the normal."""
    place = np.nonzero(where)
    normal = _normals(shape_mm, place)
    flat = []
    for offset in _OFFSETS_MM:
        moved = [
            np.clip(np.rint(p + n * np.float32(offset / CELL_MM)).astype(np.intp), 0, size - 1)
            for p, n, size in zip(place, normal, shape_mm.shape, strict=True)
        ]
        flat.append(np.ravel_multi_index(tuple(moved), shape_mm.shape))
    return [image.ravel()[index] for image in images for index in flat]


def _shells(at: _Coarse, images: tuple[np.ndarray, ...], shape_mm: np.ndarray, covered: np.ndarray) -> list[np.ndarray]:
    """Means over the surface nearby of what lies so far inside and outside of it: where a section's edge is."""
    sums: list[list[np.ndarray]] = [[] for _ in images]
    for low, high in pairwise(_SHELLS_MM):
        middle, half = 0.5 * (low + high), 0.5 * (high - low)
        # Tents overlap: coarse cells are thicker than a shell.
        weight = covered * np.maximum(0.0, 1.0 - np.abs(shape_mm - middle) / (half + CELL_MM))
        below = _smooth(weight, _SHELL_CELLS) + np.float32(1e-3)
        for image, column in zip(images, sums, strict=True):
            column.append(at.cells(_smooth(weight * image, _SHELL_CELLS) / below))
    return [column for columns in sums for column in columns]


def _smooth(values: np.ndarray, sigma: float) -> np.ndarray:
    return gaussian_filter(values, (sigma,) * 3, truncate=2.5)
