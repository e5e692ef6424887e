"""Label volumes from DICOM files, whatever kind of segmentation they hold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ...core.errors import BadInputError
from ...core.labels import LabelVolume
from . import seg, structures
from .grid import LABELMAP_SEG, SEG, STRUCTURES, read_dataset, series_grid

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...core.geometry import ImageGeometry


def read_dicom(
    path: Path, threshold: float | None, reference: Path | None, grid_of_file: Callable[[Path], ImageGeometry]
) -> LabelVolume:
    """Read a SEG or RTSTRUCT file.

    Args:
        path: of the file.
        threshold: for fractional segmentations.
        reference: folder of the image series, or an image file; an RTSTRUCT needs it, a SEG gets the whole grid by it.
        grid_of_file: reads the grid of an image file.

    Raises:
        BadInputError: it is another kind of object, is damaged, or an RTSTRUCT has no reference.
    """
    dataset = read_dataset(path)
    kind = str(dataset.get("SOPClassUID", ""))
    if kind not in (SEG, LABELMAP_SEG, STRUCTURES):
        modality = dataset.get("Modality", "unknown")
        words, hint = "{input} is a DICOM object of modality {modality}, no segmentation", "give a SEG or RTSTRUCT file"
        raise BadInputError(words, hint, "dicom.no_segmentation", input=path, modality=modality)
    if kind == STRUCTURES and reference is None:
        words, hint = "{input} is an RTSTRUCT, which holds no voxel grid", "give its images with --reference FOLDER"
        raise BadInputError(words, hint, "rtstruct.reference", input=path)
    grid = None
    if reference is not None and reference.is_dir():
        uid = structures.referenced_series(dataset) if kind == STRUCTURES else _segmented_series(dataset)
        grid = series_grid(reference, uid)
    elif reference is not None:
        grid = grid_of_file(reference)
    if kind == STRUCTURES:
        assert grid is not None
        return structures.volume_of(dataset, path, grid)
    return seg.volume_of(dataset, path, threshold, grid)


def _segmented_series(dataset: object) -> str | None:
    found = getattr(dataset, "ReferencedSeriesSequence", [])
    return str(found[0].SeriesInstanceUID) if len(found) == 1 else None
