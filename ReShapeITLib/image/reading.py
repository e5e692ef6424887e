"""An image from a file, and what kind of image it is."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from ..core.errors import BadInputError
from ..io.atomic import FilePath, file_suffix, require_file
from ..io.foreign import foreign_input
from ..io.readers import read_voxels, told_as_unreadable
from .band import Image
from .files import CT

IMAGE_SUFFIXES = (".nrrd", ".nii", ".nii.gz", ".mha", ".mhd", ".hdr", ".img")
# A CT has fat and air: values far below those of water; magnitudes of an MR are never negative.
_BELOW_WATER_HU = -50.0
_LEAST_SHARE_BELOW = 0.01
# Organs with and without contrast, and fatty livers.
_ORGAN_HU = (-60.0, 400.0)
_MOST_LABELS = 64
_SAMPLE = 200_000


def read_image(path: FilePath) -> Image:
    """Read a CT or another image: (K, J, I) voxels of any grid.

    Raises:
        BadInputError: the file is missing, unreadable, not 3D, holds one value alone, values that are not finite, or
            labels.
    """
    file = require_file(path, "image")
    if file_suffix(file) not in IMAGE_SUFFIXES:
        raise foreign_input(file, IMAGE_SUFFIXES)
    stat = file.stat()
    return _read(file, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=1)
def _read(file: Path, changed: int, size: int) -> Image:
    """One file; the organs of one patient, which come one after the other, share it."""
    with told_as_unreadable(file):
        voxels, geometry = read_voxels(file)
    some = _some(voxels)
    if not np.isfinite(some).all():
        words, hint = "The image {input} has values that are not finite", "export it again"
        raise BadInputError(words, hint, "image.not_finite", input=file)
    values = np.unique(some)
    if len(values) < 2:
        words, hint = "The image {input} has the same value everywhere", "give the image that was segmented"
        raise BadInputError(words, hint, "image.constant", input=file)
    if len(values) <= _MOST_LABELS and values[0] >= 0 and np.array_equal(values, np.rint(values)):
        words, hint = "{input} holds {count} different whole numbers: labels, not an image", "give the image itself"
        raise BadInputError(words, hint, "image.labels", input=file, count=len(values))
    return Image(voxels, geometry, str(file))


def forget_image() -> None:
    """Let go of the image that was read last."""
    _read.cache_clear()


def modality(image: Image, organ_value: float) -> str:
    """``CT`` where the values are Hounsfield units, also clipped ones; "" for another modality or unit.

    Args:
        organ_value: median of the image in the organ.
    """
    below = float((_some(image.voxels) <= _BELOW_WATER_HU).mean())
    is_ct = below >= _LEAST_SHARE_BELOW and _ORGAN_HU[0] <= organ_value <= _ORGAN_HU[1]
    return CT if is_ct else ""


def _some(voxels: np.ndarray) -> np.ndarray:
    """Every so many voxels, in an order that misses no plane."""
    flat = voxels.reshape(-1)
    step = max(1, flat.size // _SAMPLE)
    step += step % 2 == 0
    return flat[::step]
