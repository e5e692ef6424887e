"""Each format of label volumes from its file, checked."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..core.errors import BadInputError
from ..core.geometry import ImageGeometry
from ..core.label_values import integer_labels, probabilities_error
from ..core.labels import LabelVolume
from . import metaimage_header, seg_nrrd
from .atomic import FilePath, file_suffix, require_file
from .dicom.grid import series_grid
from .foreign import foreign_input
from .itk_image import broken_spacing, read_classes_with_itk, read_with_itk
from .nifti import header as nifti
from .nifti import image
from .nifti.names import segments_of
from .soft_labels import check_shape, labels_of_probabilities, read_npz

UNREADABLE = "input.unreadable"
INPUT_SUFFIXES = (".nrrd", ".seg.nrrd", ".nii", ".nii.gz", ".mha", ".mhd", ".hdr", ".img", ".npz", ".dcm")


@contextmanager
def told_as_unreadable(path: Path) -> Iterator[None]:
    """Say which file it was that could not be read."""
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        hint = "it may be damaged, export it again"
        raise BadInputError("Cannot read {input} ({reason})", hint, UNREADABLE, input=path, reason=error) from error
    except BadInputError as error:
        raise error.about(UNREADABLE, input=path) from error


def read_grid(path: FilePath) -> tuple[ImageGeometry, nifti.NiftiHeader | None]:
    """The voxel grid of an image or label file or of a folder's DICOM series, and its header where that is NIfTI.

    Raises:
        BadInputError: the file cannot be read, or is not 3D.
    """
    if Path(path).is_dir():
        return series_grid(Path(path)), None
    path = require_file(path, "reference image")
    if file_suffix(path) not in INPUT_SUFFIXES or file_suffix(path) in (".npz", ".dcm"):
        raise foreign_input(path, INPUT_SUFFIXES)
    with told_as_unreadable(path):
        if not is_nifti(path):
            return read_voxels(path, layered=True)[1], None
        array, header = image.read_image(path)
        _three_axes(array, path)
        geometry = nifti.geometry_of(header, path)[0]
        return geometry, replace(header, geometry=geometry)


def grid_of_file(path: Path) -> ImageGeometry:
    """The voxel grid of an image file, see :func:`read_grid`."""
    return read_grid(path)[0]


def read_nrrd(path: Path) -> LabelVolume:
    header = seg_nrrd.read_header(path)
    if "space directions" not in header.fields and "spacings" not in header.fields:
        raise _no_spacing(path)
    if "space directions" not in header.fields:
        _check_spacing(header.fields["spacings"].split(), path)
    try:
        matrix = seg_nrrd.header_affine_ras(header)
    except (ValueError, IndexError) as error:
        raise broken_spacing(path) from error
    seg_nrrd.check_data(header, path)
    is_segmentation = any(key.startswith("Segment0_") for key in header.key_values)
    layered = is_segmentation or "list" in header.fields.get("kinds", "").split()
    array, geometry = read_voxels(path, layered)
    if matrix is not None:
        geometry = ImageGeometry(matrix, geometry.size_ijk)
    array = integer_labels(array, str(path))
    layers = [array] if array.ndim == 3 else [np.ascontiguousarray(a) for a in np.moveaxis(array, -1, 0)]
    try:
        segments, others = seg_nrrd.segments_from_header(header.key_values, len(layers))
    except ValueError as error:
        raise BadInputError(
            "{input} has a segment field that is no number ({reason})",
            "export it again",
            "seg.field",
            input=path,
            reason=error,
        ) from error
    if any(not 0 <= s.layer < len(layers) for s in segments):
        raise BadInputError(
            "{input} names a segment layer it does not have", "export it again", "seg.layer", input=path
        )
    return LabelVolume(tuple(layers), geometry, tuple(segments), others, str(path))


def read_metaimage(path: Path) -> LabelVolume:
    fields, header_bytes = metaimage_header.read_header(path)
    metaimage_header.check_header(fields, path)
    if "ndims" in fields:
        spacing = fields.get("elementspacing", fields.get("elementsize"))
        if spacing is None:
            raise _no_spacing(path)
        _check_spacing(spacing.split(), path)
        metaimage_header.check_data(fields, header_bytes, path)
    array, geometry = read_voxels(path)
    return LabelVolume((integer_labels(array, str(path)),), geometry, source=str(path))


def read_nifti(path: Path) -> LabelVolume:
    array, header = image.read_image(path)
    geometry, notices = nifti.geometry_of(header, path)
    voxels = _three_axes(array, path)
    labels = integer_labels(voxels, str(path), header.scale)
    kept = replace(header, geometry=geometry)
    return LabelVolume((labels,), geometry, segments_of(header), source=str(path), file_header=kept, notices=notices)


def read_probabilities(path: Path, threshold: float | None, reference: FilePath | None) -> LabelVolume:
    if threshold is None:
        raise probabilities_error(path)
    header = None
    if file_suffix(path) == ".npz":
        if reference is None:
            words, hint = "{input} does not say where its voxels lie", "give the image with --reference IMAGE"
            raise BadInputError(words, hint, "reference.missing", input=path)
        values = read_npz(path)
        geometry, header = read_grid(reference)
        check_shape(values, geometry.shape_kji, path, reference)
    elif is_nifti(path):
        values, header = image.read_image(path)
        geometry = nifti.geometry_of(header, path)[0]
        header, (slope, inter) = replace(header, geometry=geometry), header.scale
        values = values.reshape([n for n in values.shape[:-3] if n > 1] + list(values.shape[-3:])) * slope + inter
    else:
        values, geometry = read_classes_with_itk(path)
    if values.ndim > 4:
        words, hint = "{input} is {count}D", "give a volume for each class, or one with the classes as fourth axis"
        raise BadInputError(words, hint, "threshold.axes", input=path, count=values.ndim)
    labels, notices = labels_of_probabilities(values, threshold, str(path))
    kept = None if header is None else image.drop_type(header, labels.dtype)
    return LabelVolume((labels,), geometry, source=str(path), file_header=kept, notices=notices)


def _no_spacing(path: Path) -> BadInputError:
    words, hint = "{input} carries no voxel spacing, so sizes in mm are unknown", "export it again with its geometry"
    return BadInputError(words, hint, "geometry.no_spacing", input=path)


def _three_axes(array: np.ndarray, path: Path) -> np.ndarray:
    """(K, J, I) of an array whose further, leading axes have one element each."""
    if any(n != 1 for n in array.shape[:-3]):
        if array.dtype.kind == "f" and array.min() >= 0 and array.max() <= 1:
            raise probabilities_error(path)
        words, hint = "{input} is {count}D", "give a 3D label map"
        raise BadInputError(words, hint, "input.not_3d", input=path, count=array.ndim)
    return array.reshape(array.shape[-3:])


def _check_spacing(numbers: Iterable[str], path: Path) -> None:
    """BadInputError where a spacing given as text is zero, NaN or no number; ITK may put 1 mm instead."""
    try:
        lengths = [float(number) for number in numbers]
    except ValueError:
        lengths = [0.0]
    if not all(np.isfinite(length) and length != 0 for length in lengths):
        raise broken_spacing(path)


def read_voxels(path: Path, layered: bool = False) -> tuple[np.ndarray, ImageGeometry]:
    """Voxels (K, J, I) of any type, or (K, J, I, layer) where ``layered`` and there are several, and the geometry;
    BadInputError where the file is damaged, not 3D, or (unless ``layered``) has several values per voxel."""
    if not is_nifti(path):
        return read_with_itk(path, layered)
    array, header = image.read_image(path)
    array, (slope, inter) = _three_axes(array, path), header.scale
    scaled = array if (slope, inter) == (1.0, 0.0) else (array * slope + inter).astype(np.float32)
    return scaled, nifti.geometry_of(header, path)[0]


def is_nifti(path: FilePath) -> bool:
    return file_suffix(path) in (".nii", ".nii.gz", ".hdr", ".img")
