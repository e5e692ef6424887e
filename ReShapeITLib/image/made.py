"""A CT that never was, made around an organ whose truth is known: for the demo and for tests."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ..core.geometry import ImageGeometry
from ..core.parallel import gaussian_filter
from .band import Image

_AIR_HU, _FAT_HU, _TISSUE_HU, _ORGAN_HU = -1000.0, -100.0, 50.0, 105.0
# Tissues around the organ are as wide as this, and so different from one another.
_PATCH_MM, _PATCH_HU, _FAT_SHARE = 9.0, 25.0, 0.4
_TEXTURE_MM, _TEXTURE_HU = 3.0, 4.0
_NOISE_MM, _NOISE_HU = 0.8, 14.0
# What a scanner sees of an edge; voxels at the surface are part organ, part surroundings.
_BLUR_MM = 0.9
_WALL_MM = 6.0  # from the body's skin to the border of the image


def made_ct(organ: np.ndarray, geometry: ImageGeometry, seed: int) -> Image:
    """An image of a made body: the organ in one brightness, patches of fat and tissue around it, air, noise.

    Some patches that touch the organ are nearly as bright as it is. Edges are blurred as a scanner blurs them.

    Args:
        organ: (K, J, I) bool, the truth.
        geometry: of these voxels.
        seed: of tissues and noise.

    Returns:
        int16 voxels (K, J, I) in HU on the same grid.
    """
    rng, spacing = np.random.default_rng([seed, 2]), geometry.spacing_mm[::-1]
    values = _around(organ.shape, spacing, rng)
    values[organ] = _ORGAN_HU + _TEXTURE_HU * _field(organ.shape, spacing, _TEXTURE_MM, rng)[organ]
    values[~_body(organ.shape, spacing)] = _AIR_HU
    values = gaussian_filter(values, _BLUR_MM / spacing, truncate=3.0)
    values += _NOISE_HU * _field(organ.shape, spacing, _NOISE_MM, rng)
    voxels = np.rint(np.clip(values, -1024, 3071)).astype(np.int16)
    return Image(voxels, geometry, "the made CT")


def _around(shape: tuple[int, ...], spacing: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(K, J, I) float32 patches of fat and of tissues of several brightnesses, each with its own border."""
    which, tissue = (_field(shape, spacing, _PATCH_MM, rng) for _ in range(2))
    fat = which < np.quantile(which, _FAT_SHARE)
    steps = np.rint(tissue).astype(np.float32)
    return np.where(fat, np.float32(_FAT_HU), np.float32(_TISSUE_HU) + np.float32(_PATCH_HU) * steps)


def _field(shape: tuple[int, ...], spacing: np.ndarray, width_mm: float, rng: np.random.Generator) -> np.ndarray:
    """(K, J, I) float32 random numbers, smooth over some mm, of mean 0 and standard deviation 1."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), width_mm / spacing, mode="wrap")
    return (field - field.mean()) / field.std()


def _body(shape: tuple[int, ...], spacing: np.ndarray) -> np.ndarray:
    """(K, J, I) bool: an oval that fills each slice, whose corners are air."""
    axes = [np.linspace(-1.0, 1.0, n) * (1.0 + _WALL_MM / (n * mm)) for n, mm in zip(shape, spacing, strict=True)]
    oval = axes[1][:, None] ** 2 + axes[2][None, :] ** 2 <= 1.0
    return np.broadcast_to(oval, shape)
