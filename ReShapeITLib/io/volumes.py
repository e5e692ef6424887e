"""Label volumes from and to files: .nrrd .seg.nrrd .nii .nii.gz .mha .mhd.

What "exact" means here: voxels and their type always come back as they were, and so does all that precedes the voxels
of a NIfTI file. The affine comes back to the last bit from NRRD and MetaImage; NIfTI stores it as 32-bit floats, so one
that comes from elsewhere is rounded to those once and then stays. Ids and overlaps of segments live in NRRD only. Every
file but NRRD is read back before it takes its place.
"""

from __future__ import annotations

import gzip
import shutil
import warnings
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from ..core.errors import BadInputError
from ..core.geometry import ImageGeometry
from ..core.label_values import check_no_image, integer_labels
from ..core.labels import LabelVolume
from ..core.parallel import together
from . import metaimage_header, seg_nrrd
from .atomic import FilePath, atomic_path, came_out_broken, cannot_write, file_suffix, require_file
from .foreign import foreign_input
from .itk_image import BROKEN_SPACING, read_with_itk, write_with_itk
from .nifti import header as nifti
from .nifti import image
from .nifti.names import segments_of

LABEL_SUFFIXES = (".nrrd", ".seg.nrrd", ".nii", ".nii.gz", ".mha", ".mhd")
INPUT_SUFFIXES = (*LABEL_SUFFIXES, ".hdr", ".img")
_NO_SPACING = "{} carries no voxel spacing, so sizes in mm are unknown: export it again with its geometry."
UNREADABLE, OTHER_FORMAT = "input.unreadable", "output.format"


def read_labels(path: FilePath) -> LabelVolume:
    """Read a label map or segmentation; the extension says the format.

    Raises:
        BadInputError: the file is missing, unreadable, not 3D, not made of integers, or has no geometry.
    """
    suffix = file_suffix(path)
    if suffix not in INPUT_SUFFIXES and not Path(path).is_dir():
        raise foreign_input(path, INPUT_SUFFIXES)
    path = require_file(path, "label file")
    try:
        if suffix.endswith("nrrd"):
            volume = _read_nrrd(path)
        else:
            volume = _read_nifti(path) if _is_nifti(path) else _read_metaimage(path)
        for layer in volume.layers:
            check_no_image(layer, str(path))
        return volume
    except (OSError, EOFError, zlib.error) as error:
        hint = "it may be damaged, export it again"
        raise BadInputError("Cannot read {input} ({reason})", hint, UNREADABLE, input=path, reason=error) from error
    except BadInputError as error:
        raise error.about(UNREADABLE, input=path) from error


def write_labels(volume: LabelVolume, path: FilePath, names: Mapping[int, str] | None = None) -> None:
    """Write a volume; the extension says the format, ``names`` (label to name) name segments of a .seg.nrrd.

    Formats without layers get segments that do not overlap in one; a warning says which got a new label number.

    Raises:
        BadInputError: the folder does not take the file, or the format cannot hold the volume.
    """
    suffix = label_file_suffix(path)
    if suffix == ".seg.nrrd":
        volume = volume.with_segments(names)
        with atomic_path(path) as temporary:
            seg_nrrd.write_nrrd(volume, temporary)
        return
    flat = volume.in_one_layer()
    for notice in flat.notices[len(volume.notices) :]:
        warnings.warn(notice, stacklevel=2)
    if suffix == ".nrrd":
        with atomic_path(path) as temporary:
            seg_nrrd.write_nrrd(flat, temporary, write_segments=False)
        return
    # A .mhd gets its voxels into the same file ("LOCAL"), so that one rename replaces it as a whole.
    with atomic_path(path, suffix=".mha" if suffix.startswith(".mh") else ".nii") as temporary:
        _write_voxels(flat, temporary, Path(path))
        if suffix != ".nii.gz":
            _check_written(flat, temporary, Path(path))
            return
        packed = temporary.with_name(f"{temporary.name}.packed")
        try:
            # Reading back takes as long as compressing.
            check = partial(_check_written, flat, temporary, Path(path))
            together(_run, (check, partial(_compress, temporary, packed)))
            packed.replace(temporary)
        finally:
            packed.unlink(missing_ok=True)


def _run(step: Callable[[], None]) -> None:
    step()


def _compress(file: Path, packed: Path) -> None:
    """Write a file compressed, without holding it in memory."""
    with (
        open(file, "rb") as source,
        open(packed, "wb") as target,
        gzip.GzipFile("", "wb", 6, target, mtime=0) as stream,
    ):
        shutil.copyfileobj(source, stream, 2**20)


def label_file_suffix(path: FilePath) -> str:
    """Suffix of a label file to write, or BadInputError where this library does not write such files."""
    suffix = file_suffix(path)
    if suffix in LABEL_SUFFIXES:
        return suffix
    if suffix in (".hdr", ".img"):
        raise cannot_write(path, "pairs of .hdr and .img are not written", "write .nii.gz instead", OTHER_FORMAT)
    words, hint = "{output} has no known label map extension", "use one of {known}"
    raise BadInputError(words, hint, "output.extension", output=path, known=", ".join(LABEL_SUFFIXES))


def _read_nrrd(path: Path) -> LabelVolume:
    header = seg_nrrd.read_header(path)
    if "space directions" not in header.fields and "spacings" not in header.fields:
        raise BadInputError(_NO_SPACING.format(path))
    if "space directions" not in header.fields:
        _check_spacing(header.fields["spacings"].split(), path)
    try:
        matrix = seg_nrrd.header_affine_ras(header)
    except (ValueError, IndexError) as error:
        raise BadInputError(BROKEN_SPACING.format(path)) from error
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
        raise BadInputError(f"{path} has a segment field that is no number ({error}): export it again.") from error
    if any(not 0 <= s.layer < len(layers) for s in segments):
        raise BadInputError(f"{path} names a segment layer it does not have: export it again.")
    return LabelVolume(tuple(layers), geometry, tuple(segments), others, str(path))


def _read_metaimage(path: Path) -> LabelVolume:
    fields, header_bytes = metaimage_header.read_header(path)
    metaimage_header.check_header(fields, path)
    if "ndims" in fields:
        spacing = fields.get("elementspacing", fields.get("elementsize"))
        if spacing is None:
            raise BadInputError(_NO_SPACING.format(path))
        _check_spacing(spacing.split(), path)
        metaimage_header.check_data(fields, header_bytes, path)
    array, geometry = read_voxels(path)
    return LabelVolume((integer_labels(array, str(path)),), geometry, source=str(path))


def _read_nifti(path: Path) -> LabelVolume:
    array, header = image.read_image(path)
    geometry, notices = nifti.geometry_of(header, path)
    voxels = _three_axes(array, path)
    labels = integer_labels(voxels, str(path), header.scale)
    kept = replace(header, geometry=geometry)
    return LabelVolume((labels,), geometry, segments_of(header), source=str(path), file_header=kept, notices=notices)


def _three_axes(array: np.ndarray, path: Path) -> np.ndarray:
    """(K, J, I) of an array whose further, leading axes have one element each."""
    if any(n != 1 for n in array.shape[:-3]):
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
        raise BadInputError(BROKEN_SPACING.format(path))


def read_voxels(path: Path, layered: bool = False) -> tuple[np.ndarray, ImageGeometry]:
    """Voxels (K, J, I) of any type, or (K, J, I, layer) where ``layered`` and there are several, and the geometry;
    BadInputError where the file is damaged, not 3D, or (unless ``layered``) has several values per voxel."""
    if not _is_nifti(path):
        return read_with_itk(path, layered)
    array, header = image.read_image(path)
    array, (slope, inter) = _three_axes(array, path), header.scale
    scaled = array if (slope, inter) == (1.0, 0.0) else (array * slope + inter).astype(np.float32)
    return scaled, nifti.geometry_of(header, path)[0]


def _is_nifti(path: FilePath) -> bool:
    return file_suffix(path) in (".nii", ".nii.gz", ".hdr", ".img")


def _write_voxels(volume: LabelVolume, temporary: Path, target: Path) -> None:
    """Write one layer as NIfTI or MetaImage, uncompressed as the former."""
    array, geometry = volume.layers[0], volume.geometry
    try:
        if temporary.suffix == ".nii":
            header = volume.file_header if isinstance(volume.file_header, nifti.NiftiHeader) else None
            image.write_image(array, geometry, header, temporary)
        else:
            write_with_itk(array, geometry, temporary)
    except RuntimeError as error:
        raise came_out_broken(target) from error


def _check_written(volume: LabelVolume, temporary: Path, target: Path) -> None:
    """Read back: writers change what a format cannot hold without an error."""
    try:
        written = _read_nifti(temporary) if temporary.suffix == ".nii" else _read_metaimage(temporary)
    except (RuntimeError, OSError, BadInputError) as error:
        raise came_out_broken(target) from error
    found, wanted = written.layers[0], volume.layers[0]
    same_voxels = found.shape == wanted.shape and all(map(np.array_equal, found, wanted))
    affine = volume.geometry.ijk_to_ras
    if temporary.suffix == ".nii" and not np.array_equal(written.geometry.ijk_to_ras, affine):
        affine = affine.astype(np.float32)  # a grid that no NIfTI file gave is rounded once
    if not same_voxels or not np.array_equal(written.geometry.ijk_to_ras, affine):
        raise cannot_write(target, "this format does not hold it exactly", "write .nrrd instead", OTHER_FORMAT)
