"""An image from a file, and what kind of image it is."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from ..core.errors import BadInputError
from ..io.atomic import FilePath, file_suffix, require_file
from ..io.dicom.series import read_series
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

    Args:
        path: file, or folder of the files of one DICOM series.

    Raises:
        BadInputError: as of :func:`image_voxels`, or it holds one value alone, values that are not finite, or labels.
    """
    image = image_voxels(path)
    some = _some(image.voxels)
    about = {"input": Path(path)}
    if not np.isfinite(some).all():
        words, hint = "The image {input} has values that are not finite", "export it again"
        raise BadInputError(words, hint, "image.not_finite", **about)
    values = np.unique(some)
    if len(values) < 2:
        words, hint = "The image {input} has the same value everywhere", "give the image that was segmented"
        raise BadInputError(words, hint, "image.constant", **about)
    if len(values) <= _MOST_LABELS and values[0] >= 0 and np.array_equal(values, np.rint(values)):
        words, hint = "{input} holds {count} different whole numbers: labels, not an image", "give the image itself"
        raise BadInputError(words, hint, "image.labels", **about, count=len(values))
    return image


def image_voxels(path: FilePath) -> Image:
    """What a file or folder holds, whatever its values.

    Raises:
        BadInputError: the file is missing, unreadable or not 3D; a folder holds no single whole series, or pydicom is
            missing.
    """
    place = Path(path)
    if not place.is_dir():
        place = require_file(place, "image")
        if file_suffix(place) not in IMAGE_SUFFIXES:
            raise foreign_input(place, IMAGE_SUFFIXES)
    stats = [file.stat() for file in files_of_image(place)]
    return _read(place, max((s.st_mtime_ns for s in stats), default=0), sum(s.st_size for s in stats))


def files_of_image(path: Path) -> list[Path]:
    """The file itself; of a folder its files, in the order of their names."""
    return sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]


@lru_cache(maxsize=1)
def _read(path: Path, changed: int, size: int) -> Image:
    """One image; the organs of one patient, which come one after the other, share it."""
    with told_as_unreadable(path):
        return Image(*(read_series(path) if path.is_dir() else read_voxels(path)), str(path))


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
