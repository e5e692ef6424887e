"""The voxels of a DICOM image series in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...core.errors import BadInputError
from ...core.geometry import ImageGeometry
from .grid import image_series, pixels_of, read_dataset, slices_grid

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


def read_series(folder: Path) -> tuple[np.ndarray, ImageGeometry]:
    """Voxels (K, J, I) of the only image series of a folder, rescaled (a CT to HU), and their geometry.

    Files may have any names and any order. Whole numbers come as int16 or int32, others as float32.

    Raises:
        BadInputError: there is no series, or several; slices are missing, lie in one place or are damaged; pydicom, or
            what unpacks the voxels, is missing.
    """
    found = image_series(folder)
    geometry = slices_grid([slice_ for _, slice_ in found], folder)
    layers = _layers([slice_ for _, slice_ in found], geometry, folder)
    whole = all(float(number).is_integer() for _, slice_ in found for number in _scale(slice_))
    voxels = np.empty(geometry.shape_kji, np.int32 if whole else np.float32)
    for layer, (path, slice_) in zip(layers, found, strict=True):
        slope, intercept = _scale(slice_)
        stored = pixels_of(read_dataset(path), path, geometry.shape_kji[1:]).astype(voxels.dtype)
        voxels[layer] = stored * (int(slope) if whole else slope) + (int(intercept) if whole else intercept)
    if whole and np.iinfo(np.int16).min <= voxels.min() and voxels.max() <= np.iinfo(np.int16).max:
        voxels = voxels.astype(np.int16)
    return voxels, geometry


def _layers(slices: list[Dataset], geometry: ImageGeometry, folder: Path) -> list[int]:
    """Number of each slice on the grid; every layer has one."""
    places = np.array([[float(x) for x in slice_.ImagePositionPatient] for slice_ in slices]) * (-1.0, -1.0, 1.0)
    layers = np.rint(geometry.ras_to_ijk_points(places)[:, 2]).astype(int)
    count = geometry.size_ijk[2]
    there = np.bincount(layers, minlength=count)
    if (there > 1).any():
        words, hint = "{input} holds several slices of one place", "give a folder with one series of one time"
        raise BadInputError(words, hint, "dicom.same_place", input=folder)
    if (there == 0).any():
        words, hint = "The series in {input} lacks {missing} of {count} slices", "export the whole series again"
        raise BadInputError(words, hint, "dicom.missing", input=folder, missing=int((there == 0).sum()), count=count)
    return [int(layer) for layer in layers]


def _scale(slice_: Dataset) -> tuple[float, float]:
    return float(slice_.get("RescaleSlope", 1.0)), float(slice_.get("RescaleIntercept", 0.0))
