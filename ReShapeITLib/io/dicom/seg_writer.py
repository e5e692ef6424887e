"""A label volume as DICOM SEG, with patient, study and segments of the one that was read."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.labels import LabelVolume
from ..atomic import came_out_broken, not_in_this_format
from .grid import SEG, read_dataset
from .seg import DicomSeg, volume_of

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_BINARY = {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0, "SegmentationType": "BINARY", "SOPClassUID": SEG}
_OF_OTHER_TYPES = (
    "SegmentationFractionalType",
    "MaximumFractionalValue",
    "PixelPaddingValue",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
)
_SEGMENT_NUMBER = 0x0062000B  # ReferencedSegmentNumber


def check_can_write(volume: LabelVolume, target: Path) -> None:
    """BadInputError where there is no DICOM SEG to take patient, study and segments from."""
    if not isinstance(volume.file_header, DicomSeg):
        reason = "a DICOM SEG needs the patient and study of one that was read"
        raise not_in_this_format(target, reason, ".seg.nrrd or .nii.gz")


def write_seg(volume: LabelVolume, temporary: Path, target: Path) -> None:
    """Write a volume that was read from a DICOM SEG as a new object of the same study, binary, in a new series.

    Raises:
        BadInputError: the volume is of another format or has labels that the object's segments do not have, or the
            file cannot be read again.
    """
    check_can_write(volume, target)
    header = volume.file_header
    assert isinstance(header, DicomSeg)
    source = header.dataset
    numbers = [int(item.SegmentNumber) for item in source.SegmentSequence]
    if set(volume.label_values()) - set(numbers):
        raise not_in_this_format(target, "it has labels without a segment", ".seg.nrrd")
    made = _copy_without_frames(source)
    frames, items = [], []
    for item, frame in _frames(volume, source, [n for n in numbers if n != 0]):
        items.append(item)
        frames.append(frame)
    made.PerFrameFunctionalGroupsSequence = items
    made.NumberOfFrames = len(items)
    made.Rows, made.Columns = volume.geometry.shape_kji[1:]
    bits = np.packbits(np.concatenate([frame.ravel() for frame in frames]), bitorder="little").tobytes()
    made.PixelData = bits + bytes(len(bits) % 2)
    made["PixelData"].VR = "OB"
    made.save_as(temporary, enforce_file_format=True)
    _check(volume, temporary, target)


def _copy_without_frames(source: Dataset) -> Dataset:
    """The object with new identifiers and date, binary and uncompressed."""
    from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

    made = copy.deepcopy(source)
    for name in ("PixelData", "PerFrameFunctionalGroupsSequence", *_OF_OTHER_TYPES):
        if name in made:
            delattr(made, name)
    now = datetime.now()
    for name, value in _BINARY.items():
        setattr(made, name, value)
    made.SegmentSequence = [item for item in made.SegmentSequence if int(item.SegmentNumber) != 0]
    made.SOPInstanceUID, made.SeriesInstanceUID = generate_uid(), generate_uid()
    made.SeriesDescription = f"{source.get('SeriesDescription', 'Segmentation')} refined"[:64]
    made.ContentDate, made.ContentTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    made.PhotometricInterpretation, made.SamplesPerPixel, made.PixelRepresentation = "MONOCHROME2", 1, 0
    made.file_meta.MediaStorageSOPClassUID = UID(SEG)
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return made


def _frames(volume: LabelVolume, source: Dataset, numbers: list[int]) -> Iterator[tuple[Any, np.ndarray]]:
    """Functional groups and (J, I) bool voxels of each frame: by segment, then by slice; one for an empty volume."""
    old = _items_by_place(source)
    heights = sorted(old)
    pointers = [int(item.DimensionIndexPointer) for item in source.get("DimensionIndexSequence", [])]
    made = 0
    for number in numbers:
        layer, label = volume.locate(f"label:{number}")
        for k, section in enumerate(volume.layers[layer]):
            frame = section == label
            last_chance = not made and number == numbers[-1] and k == len(volume.layers[layer]) - 1
            if not frame.any() and not last_chance:
                continue
            made += 1
            position = volume.geometry.ijk_to_ras_points(np.array([[0.0, 0.0, k]]))[0] * (-1.0, -1.0, 1.0)
            nearest = min(heights, key=lambda place: float(np.linalg.norm(np.subtract(place, position))))
            item = copy.deepcopy(old[nearest])
            spacing_mm = float(volume.geometry.spacing_mm[2])
            if np.linalg.norm(np.subtract(nearest, position)) > 0.5 * spacing_mm and "DerivationImageSequence" in item:
                del item.DerivationImageSequence  # it names the image of another slice
            yield _placed(item, number, k, position, pointers), frame


def _items_by_place(source: Dataset) -> dict[tuple[float, ...], Any]:
    """Functional groups of one frame at each position."""
    found: dict[tuple[float, ...], Any] = {}
    shared = source.SharedFunctionalGroupsSequence[0]
    for item in source.PerFrameFunctionalGroupsSequence:
        plane = (item if "PlanePositionSequence" in item else shared).PlanePositionSequence[0]
        found.setdefault(tuple(float(x) for x in plane.ImagePositionPatient), item)
    return found


def _placed(item: Any, number: int, k: int, position: np.ndarray, pointers: list[int]) -> Any:
    """Functional groups for another segment and slice."""
    from pydicom.dataset import Dataset
    from pydicom.valuerep import format_number_as_ds

    plane, segment = Dataset(), Dataset()
    plane.ImagePositionPatient = [format_number_as_ds(float(x)) for x in position]
    segment.ReferencedSegmentNumber = number
    item.PlanePositionSequence, item.SegmentIdentificationSequence = [plane], [segment]
    content = item.FrameContentSequence[0] if "FrameContentSequence" in item else Dataset()
    content.DimensionIndexValues = [number if pointer == _SEGMENT_NUMBER else k + 1 for pointer in pointers] or [1]
    item.FrameContentSequence = [content]
    return item


def _check(volume: LabelVolume, temporary: Path, target: Path) -> None:
    """Read back: every segment has the voxels it should have."""
    written = volume_of(read_dataset(temporary), target, grid=volume.geometry)
    for segment in written.segments:
        place = f"label:{segment.label}"
        if not np.array_equal(written.mask(place), volume.mask(place)):
            raise came_out_broken(target)
