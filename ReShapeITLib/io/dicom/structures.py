"""Contours of an RTSTRUCT as label volumes on the grid of the images they were drawn on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...core.errors import BadInputError, Notice
from ...core.geometry import ImageGeometry
from ...core.label_layers import layered
from ...core.labels import LabelVolume, Segment

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_FLAT = "CLOSED_PLANAR"
_BETWEEN_SLICES = 0.3  # of a slice's distance, from where on a contour lies between two


def referenced_series(dataset: Dataset) -> str | None:
    """UID of the image series that the structures were drawn on, where there is one only."""
    found = {
        str(series.SeriesInstanceUID)
        for frame in dataset.get("ReferencedFrameOfReferenceSequence", [])
        for study in frame.get("RTReferencedStudySequence", [])
        for series in study.get("RTReferencedSeriesSequence", [])
    }
    return found.pop() if len(found) == 1 else None


def volume_of(dataset: Dataset, path: Path, grid: ImageGeometry) -> LabelVolume:
    """The structures with closed contours; label numbers are their ROI numbers where these are 1..65535.

    A voxel belongs to a structure where its centre lies within an odd number of contours of its slice.

    Args:
        dataset: as it was read.
        path: of its file.
        grid: of the images.

    Raises:
        BadInputError: it is damaged, holds no closed contours, or they lie beside the slices of the grid.
    """
    masks: dict[int, np.ndarray] = {}
    names: dict[int, tuple[str, tuple[float, ...] | None]] = {}
    skipped = []
    try:
        named = {int(roi.ROINumber): str(roi.get("ROIName", "")) for roi in dataset.StructureSetROISequence}
        renumber = not all(0 < number < 2**16 for number in named)
        for index, item in enumerate(dataset.ROIContourSequence, 1):
            number = int(item.ReferencedROINumber)
            contours = list(item.get("ContourSequence", []))
            flat = [
                np.reshape(c.ContourData, (-1, 3)).astype(float) for c in contours if c.ContourGeometricType == _FLAT
            ]
            if not flat:
                skipped.append(named.get(number, str(number)))
                continue
            label = index if renumber else number
            color = item.get("ROIDisplayColor")
            names[label] = (named.get(number, ""), tuple(int(c) / 255 for c in color) if color else None)
            masks[label] = _filled(flat, grid, path)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        words, hint = "{input} lacks a part that an RTSTRUCT must have ({reason})", "export it again"
        raise BadInputError(words, hint, "rtstruct.incomplete", input=path, reason=error) from error
    if not masks:
        words, hint = "{input} holds no closed contours", "choose a structure set with organs"
        raise BadInputError(words, hint, "rtstruct.empty", input=path)
    layers, where = layered(masks)
    segments = tuple(
        Segment(label, name or f"ROI_{label}", f"ROI_{label}", color, where[label])
        for label, (name, color) in names.items()
    )
    words = "{input}: structures without closed contours are left out: {names}."
    notices = (Notice(words, "rtstruct.skipped", input=path, names=", ".join(skipped)),) if skipped else ()
    return LabelVolume(tuple(layers), grid, segments, source=str(path), notices=notices)


def _filled(contours: list[np.ndarray], grid: ImageGeometry, path: Path) -> np.ndarray:
    """(K, J, I) bool voxels within contours of LPS mm (N, 3), each in one slice."""
    from skimage.draw import polygon

    mask = np.zeros(grid.shape_kji, dtype=bool)
    for points in contours:
        i, j, k = grid.ras_to_ijk_points(points * (-1.0, -1.0, 1.0)).T
        layer = round(float(k.mean()))
        if np.abs(k - layer).max() > _BETWEEN_SLICES or not 0 <= layer < len(mask):
            words, hint = (
                "Contours of {input} lie beside the slices of the reference",
                "give the series they were drawn on",
            )
            raise BadInputError(words, hint, "rtstruct.other_grid", input=path)
        rows, columns = polygon(j, i, mask.shape[1:])
        mask[layer, rows, columns] ^= True
    return mask
