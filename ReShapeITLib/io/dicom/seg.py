"""DICOM segmentations as label volumes.

A SEG stores a frame for each segment and slice that has voxels, so slices without any are missing from the file. The
grid gets some empty ones on both sides: else an organ would look cut off where its frames end.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.errors import BadInputError
from ...core.geometry import ImageGeometry
from ...core.label_layers import layered
from ...core.label_values import probabilities_error
from ...core.labels import LabelVolume, Segment
from .grid import LABELMAP_SEG, grid_of, pixels_of

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_ROOM_MM = 10.0
_TERMINOLOGY = "TerminologyEntry"
_CONTEXTS = "Segmentation category and type - DICOM master list", "Anatomic codes - DICOM master list"


@dataclass(frozen=True, eq=False)
class DicomSeg:
    """The object that was read, with its pixels; what is written takes its patient, study and segments from it."""

    dataset: Dataset


def volume_of(
    dataset: Dataset, path: Path, threshold: float | None = None, grid: ImageGeometry | None = None
) -> LabelVolume:
    """The label volume of a DICOM SEG; label numbers are its segment numbers.

    Args:
        dataset: as it was read.
        path: of its file.
        threshold: for fractional segmentations.
        grid: of the images that were segmented; without it the grid of the frames counts.

    Raises:
        BadInputError: it is damaged, its frames lie on no even grid or beside ``grid``, or it is fractional and no
            threshold is given.
    """
    try:
        frames = _Frames(dataset, path, threshold)
        geometry = grid or _with_room(frames.geometry, dataset)
        masks = frames.masks(geometry)
        layers, where = layered(masks)
        items = [item for item in dataset.SegmentSequence if int(item.SegmentNumber) != 0]
        segments = tuple(_segment(item, where.get(int(item.SegmentNumber), 0)) for item in items)
    except (AttributeError, KeyError, IndexError, TypeError) as error:
        words, hint = "{input} lacks a part that a DICOM SEG must have ({reason})", "export it again"
        raise BadInputError(words, hint, "dicom.incomplete", input=path, reason=error) from error
    layers = layers or [np.zeros(geometry.shape_kji, np.uint8)]
    return LabelVolume(tuple(layers), geometry, segments, source=str(path), file_header=DicomSeg(dataset))


class _Frames:
    """The frames of a SEG with what each is about."""

    def __init__(self, dataset: Dataset, path: Path, threshold: float | None) -> None:
        self._path = path
        shared = dataset.SharedFunctionalGroupsSequence[0]
        own = list(dataset.PerFrameFunctionalGroupsSequence)

        def group(item: Any, name: str) -> Any:
            return (item if name in item else shared)[name][0]

        self.positions = np.array(
            [[float(x) for x in group(item, "PlanePositionSequence").ImagePositionPatient] for item in own]
        )
        measures = group(own[0], "PixelMeasuresSequence")
        orientations = [group(item, "PlaneOrientationSequence").ImageOrientationPatient for item in own]
        if any(np.abs(np.subtract(o, orientations[0]).astype(float)).max() > 1e-4 for o in orientations):
            words, hint = "{input} holds slices of several orientations", "export each as a file of its own"
            raise BadInputError(words, hint, "dicom.orientations", input=path)
        shape = int(dataset.Rows), int(dataset.Columns)
        thickness = measures.get("SpacingBetweenSlices") or measures.get("SliceThickness")
        self.geometry = grid_of(self.positions, orientations[0], measures.PixelSpacing, thickness, shape, path)
        self._pixels = pixels_of(dataset, path, (len(own), *shape))
        self.labelmap = dataset.SOPClassUID == LABELMAP_SEG
        if self.labelmap:
            return
        self.numbers = [int(group(item, "SegmentIdentificationSequence").ReferencedSegmentNumber) for item in own]
        if dataset.SegmentationType == "FRACTIONAL":
            if threshold is None:
                raise probabilities_error(path)
            self._pixels = self._pixels >= threshold * int(dataset.MaximumFractionalValue)

    def masks(self, geometry: ImageGeometry) -> dict[int, np.ndarray]:
        """(K, J, I) bool voxels of each segment on a grid that has these slices among its own."""
        i, j, k = geometry.ras_to_ijk_points(self.positions * (-1.0, -1.0, 1.0)).T
        layers = np.rint(k).astype(int)
        j0, i0 = round(float(j[0])), round(float(i[0]))
        rows, columns = self._pixels.shape[1:]
        off = max(np.abs(k - layers).max(), np.abs(j - j0).max(), np.abs(i - i0).max())
        turned = np.abs(geometry.direction_ras - self.geometry.direction_ras).max()
        scaled = np.abs(geometry.spacing_mm - self.geometry.spacing_mm)[:2].max()
        fits = min(j0, i0, layers.min()) >= 0 and np.all(
            np.array([layers.max() + 1, j0 + rows, i0 + columns]) <= geometry.shape_kji
        )
        if off > 0.1 or turned > 1e-2 or scaled > 1e-2 or not fits:
            words, hint = "The frames of {input} do not lie on the voxels of the reference", "give the series it is of"
            raise BadInputError(words, hint, "dicom.other_grid", input=self._path)
        found: dict[int, np.ndarray] = {}
        for index, layer in enumerate(layers):
            frame = self._pixels[index]
            numbers = [int(n) for n in np.unique(frame) if n] if self.labelmap else [self.numbers[index]]
            for number in numbers:
                mask = found.setdefault(number, np.zeros(geometry.shape_kji, bool))
                part = mask[layer, j0 : j0 + rows, i0 : i0 + columns]
                part |= (frame == number) if self.labelmap else (frame != 0)
        return dict(sorted(found.items()))


def _with_room(geometry: ImageGeometry, dataset: Dataset) -> ImageGeometry:
    """The grid with as many empty slices on both sides as the segmented series may have."""
    room = int(np.ceil(_ROOM_MM / geometry.spacing_mm[2]))
    for series in dataset.get("ReferencedSeriesSequence", []):
        instances = len(series.get("ReferencedInstanceSequence", []))
        if instances:
            room = min(room, max(0, instances - geometry.size_ijk[2]))
    i, j, k = geometry.size_ijk
    return geometry.cropped((0, 0, -room), (i, j, k + 2 * room))


def _segment(item: Dataset, layer: int) -> Segment:
    number = int(item.SegmentNumber)
    tags = {_TERMINOLOGY: _terminology(item)} if "SegmentedPropertyTypeCodeSequence" in item else {}
    return Segment(number, str(item.get("SegmentLabel", f"Segment_{number}")), f"Segment_{number}", None, layer, tags)


def _terminology(item: Dataset) -> str:
    """Category, type, region and their modifiers as 3D Slicer serialises them in a segment's tag."""

    def code(owner: Any, name: str) -> tuple[str, Any]:
        sequence = owner.get(name) if owner is not None else None
        if not sequence:
            return "^^", None
        first = sequence[0]
        value = first.get("CodeValue") or first.get("LongCodeValue") or ""
        return f"{first.get('CodingSchemeDesignator', '')}^{value}^{first.get('CodeMeaning', '')}", first

    category, _ = code(item, "SegmentedPropertyCategoryCodeSequence")
    kind, kind_item = code(item, "SegmentedPropertyTypeCodeSequence")
    modifier, _ = code(kind_item, "SegmentedPropertyTypeModifierCodeSequence")
    region, region_item = code(item, "AnatomicRegionSequence")
    region_modifier, _ = code(region_item, "AnatomicRegionModifierSequence")
    return "~".join([_CONTEXTS[0], category, kind, modifier, _CONTEXTS[1], region, region_modifier])
