"""The voxel grid of DICOM slices, and what kind of object a file holds."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.errors import MISSING_PACKAGE, BadInputError
from ...core.geometry import LPS_TO_RAS, ImageGeometry

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SEG, LABELMAP_SEG = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"
STRUCTURES = "1.2.840.10008.5.1.4.1.1.481.3"
_OFF_GRID = 0.1  # of a slice's distance, from where on slices are not evenly spaced
_SAME_PLACE_MM = 1e-3
_TURNED = 1e-4  # largest difference of direction cosines within a series
_OVERVIEW = "LOCALIZER"


def read_dataset(path: Path, with_pixels: bool = True) -> Dataset:
    """A DICOM file's content.

    Raises:
        BadInputError: it is damaged or no DICOM file, or pydicom is missing.
    """
    try:
        import pydicom
        from pydicom.errors import InvalidDicomError
    except ImportError as error:
        words, hint = "DICOM files need the Python package {package}", "install it: pip install 'ReShapeITLib[dicom]'"
        raise BadInputError(words, hint, MISSING_PACKAGE, package="pydicom") from error
    try:
        return pydicom.dcmread(path, stop_before_pixels=not with_pixels)
    except (InvalidDicomError, ValueError, KeyError, AttributeError, TypeError, NotImplementedError) as error:
        words, hint = "{input} is damaged or no DICOM file", "export it again"
        raise BadInputError(words, hint, "dicom.damaged", input=path) from error


def is_dicom_file(path: Path) -> bool:
    """True for files with the mark that DICOM files have, whatever their name."""
    if not path.is_file():
        return False
    with open(path, "rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def segmentation_in(folder: Path) -> Path | None:
    """The only DICOM SEG or RTSTRUCT file of a folder; None where there is none.

    Raises:
        BadInputError: there are several, or pydicom is missing.
    """
    files = [path for path in sorted(folder.iterdir()) if is_dicom_file(path)]
    kinds = (SEG, LABELMAP_SEG, STRUCTURES)
    found = [path for path in files if read_dataset(path, False).get("SOPClassUID") in kinds]
    if len(found) > 1:
        names = ", ".join(path.name for path in found[:5])
        words, hint = "{input} holds several segmentations ({names})", "give the path of one"
        raise BadInputError(words, hint, "dicom.several", input=folder, names=names)
    return found[0] if found else None


def series_grid(folder: Path, series_uid: str | None = None) -> ImageGeometry:
    """Voxel grid of the DICOM series in a folder; of several the one of that UID.

    Raises:
        BadInputError: there is none, there are several, or its slices are not evenly spaced.
    """
    return slices_grid([slice_ for _, slice_ in image_series(folder, series_uid)], folder)


def image_series(folder: Path, series_uid: str | None = None) -> list[tuple[Path, Dataset]]:
    """Files and headers of the images of the only DICOM series in a folder; of several that of the UID.

    A scanner's overviews (localisers) do not count.

    Raises:
        BadInputError: there is none, there are several, or pydicom is missing.
    """
    series: dict[str, list[tuple[Path, Dataset]]] = {}
    for path in sorted(folder.iterdir()):
        if is_dicom_file(path):
            slice_ = read_dataset(path, False)
            overview = _OVERVIEW in (slice_.get("ImageType") or ())
            if "ImagePositionPatient" in slice_ and "Rows" in slice_ and not overview:
                series.setdefault(str(slice_.get("SeriesInstanceUID")), []).append((path, slice_))
    if series_uid in series:
        return series[str(series_uid)]
    if len(series) != 1:
        words, hint = "{input} holds {count} DICOM series of images", "give a folder with one series"
        raise BadInputError(words, hint, "dicom.series", input=folder, count=len(series))
    return next(iter(series.values()))


def slices_grid(slices: list[Dataset], source: object) -> ImageGeometry:
    """Voxel grid of the slices of one series, some of which may be missing.

    Args:
        slices: headers, in any order.
        source: how messages name them.

    Raises:
        BadInputError: they are not evenly spaced, of several sizes or orientations, or a number is missing.
    """
    first = slices[0]
    try:
        if any((s.Rows, s.Columns) != (first.Rows, first.Columns) for s in slices):
            raise ValueError("their sizes differ")
        cosines = np.array([s.ImageOrientationPatient for s in slices], dtype=float)
        if np.abs(cosines - cosines[0]).max() > _TURNED:
            raise ValueError("their orientations differ")
        shape = int(first.Rows), int(first.Columns)
        spacing = first.PixelSpacing
    except (ValueError, TypeError, AttributeError) as error:
        raise _uneven(source, error) from error
    positions = [s.ImagePositionPatient for s in slices]
    thickness = first.get("SpacingBetweenSlices") or first.get("SliceThickness")
    return grid_of(positions, first.ImageOrientationPatient, spacing, thickness, shape, source)


def pixels_of(dataset: Dataset, path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Stored values of an object, unpacked.

    Raises:
        BadInputError: they are damaged, or packed in a way that nothing installed unpacks.
    """
    try:
        pixels: np.ndarray = np.asarray(dataset.pixel_array).reshape(shape)
    except (ValueError, RuntimeError, NotImplementedError, AttributeError) as error:
        words, hint = "The voxels of {input} cannot be unpacked ({reason})", "export it uncompressed"
        raise BadInputError(words, hint, "dicom.pixels", input=path, reason=error) from error
    return pixels


def grid_of(
    positions: Iterable[Any],
    orientation: Any,
    pixel_spacing: Any,
    thickness: Any,
    rows_columns: tuple[int, int],
    source: object,
) -> ImageGeometry:
    """The grid of parallel slices, some of which may be missing.

    Args:
        positions: of the first voxel of each slice, LPS mm; several may be the same.
        orientation: six direction cosines, along a row and along a column.
        pixel_spacing: mm between rows and between columns.
        thickness: mm between slices where there is one slice only; may be None.
        rows_columns: size of a slice.
        source: how messages name the file.

    Raises:
        BadInputError: the slices are not evenly spaced, or a number is missing or zero.
    """
    try:
        places = np.unique(np.array([[float(x) for x in p] for p in positions]).round(4), axis=0)
        cosines = np.array([float(x) for x in orientation]).reshape(2, 3)
        between_rows, between_columns = (float(x) for x in pixel_spacing)
        normal = np.cross(cosines[0], cosines[1])
        heights = places @ normal
        places, heights = places[np.argsort(heights)], np.sort(heights)
        step, count = _step(places, heights, normal, float(thickness or 0.0))
        lps = np.eye(4)
        lps[:3, :3] = np.column_stack([cosines[0] * between_columns, cosines[1] * between_rows, step])
        lps[:3, 3] = places[0]
        rows, columns = rows_columns
        return ImageGeometry(LPS_TO_RAS @ lps + 0.0, (columns, rows, count))
    except (ValueError, TypeError, IndexError) as error:
        raise _uneven(source, error) from error


def _uneven(source: object, error: Exception) -> BadInputError:
    words, hint = "The slices of {input} make no even voxel grid ({reason})", "export it again with its geometry"
    return BadInputError(words, hint, "dicom.uneven", input=source, reason=error)


def _step(places: np.ndarray, heights: np.ndarray, normal: np.ndarray, thickness: float) -> tuple[np.ndarray, int]:
    """From one slice to the next (3,), and the number of slices from the first to the last place."""
    if len(places) == 1:
        if not thickness > 0:
            raise ValueError("one slice without a thickness")
        return normal * thickness, 1
    gaps = np.diff(heights)
    if gaps.min() < _SAME_PLACE_MM:
        raise ValueError("two slices lie in one plane")
    numbers = np.rint((heights - heights[0]) / gaps.min())
    step = (places[-1] - places[0]) / numbers[-1]
    off = np.linalg.norm(places - places[0] - numbers[:, None] * step, axis=1)
    if off.max() > _OFF_GRID * np.linalg.norm(step):
        raise ValueError("their distances differ")
    return step, int(numbers[-1]) + 1
