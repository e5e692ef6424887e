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
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from ..core.errors import BadInputError
from ..core.geometry import ImageGeometry
from ..core.label_values import check_no_image
from ..core.labels import LabelVolume
from ..core.parallel import together
from . import seg_nrrd
from .atomic import FilePath, atomic_path, came_out_broken, file_suffix, not_in_this_format, require_file
from .dicom.grid import is_dicom_file, segmentation_in
from .dicom.reader import read_dicom
from .dicom.seg_writer import check_can_write, write_seg
from .foreign import foreign_input
from .itk_image import write_with_itk
from .nifti import header as nifti
from .nifti import image
from .readers import (
    INPUT_SUFFIXES,
    grid_of_file,
    is_nifti,
    read_metaimage,
    read_nifti,
    read_nrrd,
    read_probabilities,
    told_as_unreadable,
)

LABEL_SUFFIXES = (".nrrd", ".seg.nrrd", ".nii", ".nii.gz", ".mha", ".mhd")


def read_labels(path: FilePath, threshold: float | None = None, reference: FilePath | None = None) -> LabelVolume:
    """Read a label map or segmentation; the extension says the format.

    Args:
        path: .nrrd .seg.nrrd .nii .nii.gz .mha .mhd, a pair .hdr/.img, with a threshold .npz of nnU-Net, or DICOM SEG
            or RTSTRUCT, also as the only one of a folder.
        threshold: makes labels of probabilities, see ``soft_labels.labels_of_probabilities``.
        reference: the image, or folder of a DICOM series, whose grid an .npz or RTSTRUCT file has.

    Raises:
        BadInputError: the file is missing, unreadable, not 3D, not made of integers, or has no geometry.
    """
    path = labels_in(path)
    suffix, is_dicom = file_suffix(path), is_dicom_file(path)
    if suffix not in INPUT_SUFFIXES and not path.is_dir() and not is_dicom:
        raise foreign_input(path, INPUT_SUFFIXES)
    path = require_file(path, "label file")
    with told_as_unreadable(path):
        if is_dicom or suffix == ".dcm":
            return read_dicom(path, threshold, None if reference is None else Path(reference), grid_of_file)
        if suffix == ".npz" or threshold is not None:
            return read_probabilities(path, threshold, reference)
        if suffix.endswith("nrrd"):
            volume = read_nrrd(path)
        else:
            volume = read_nifti(path) if is_nifti(path) else read_metaimage(path)
        for layer in volume.layers:
            check_no_image(layer, str(path))
        return volume


def labels_in(path: FilePath) -> Path:
    """The DICOM segmentation of a folder that holds one beside no label files; any other path as it is."""
    path = Path(path)
    if not path.is_dir() or any(file_suffix(file) in LABEL_SUFFIXES for file in path.iterdir()):
        return path
    return segmentation_in(path) or path


def write_image(voxels: np.ndarray, geometry: ImageGeometry, path: FilePath) -> None:
    """Write an image (K, J, I) of any number type; the extension says the format.

    Raises:
        BadInputError: the folder does not take the file.
    """
    with atomic_path(path) as temporary:
        try:
            write_with_itk(voxels, geometry, temporary)
        except RuntimeError as error:
            raise came_out_broken(Path(path)) from error


def write_labels(volume: LabelVolume, path: FilePath, names: Mapping[int, str] | None = None) -> None:
    """Write a volume; the extension says the format, ``names`` (label to name) name segments of a .seg.nrrd.

    Formats without layers get segments that do not overlap in one; a warning says which got a new label number.

    Raises:
        BadInputError: the folder does not take the file, or the format cannot hold the volume.
    """
    suffix = label_file_suffix(path)
    if suffix == ".dcm":
        check_can_write(volume, Path(path))
        with atomic_path(path) as temporary:
            write_seg(volume, temporary, Path(path))
        return
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


def as_held_by(volume: LabelVolume, path: FilePath) -> LabelVolume:
    """The volume as the format of a file to write holds it, see :meth:`LabelVolume.in_one_layer`.

    Raises:
        BadInputError: the format cannot hold it.
    """
    suffix = label_file_suffix(path)
    if suffix == ".dcm":
        check_can_write(volume, Path(path))
    return volume if suffix in (".dcm", ".seg.nrrd") else volume.in_one_layer()


def label_file_suffix(path: FilePath) -> str:
    """Suffix of a label file to write, or BadInputError where this library does not write such files."""
    suffix = file_suffix(path)
    if suffix in LABEL_SUFFIXES or suffix == ".dcm":
        return suffix
    if suffix in (".hdr", ".img"):
        raise not_in_this_format(path, "pairs of .hdr and .img are not written", ".nii.gz")
    words, hint = "{output} has no known label map extension", "use one of {known}"
    raise BadInputError(words, hint, "output.extension", output=path, known=", ".join(LABEL_SUFFIXES))


def _write_voxels(volume: LabelVolume, temporary: Path, target: Path) -> None:
    """Write one layer as NIfTI or MetaImage, uncompressed as the former."""
    array, geometry = volume.layers[0], volume.geometry
    try:
        if temporary.suffix == ".nii":
            header = volume.file_header if isinstance(volume.file_header, nifti.NiftiHeader) else None
            image.write_image(array, geometry, header, temporary, volume.segments)
        else:
            write_with_itk(array, geometry, temporary)
    except RuntimeError as error:
        raise came_out_broken(target) from error


def _check_written(volume: LabelVolume, temporary: Path, target: Path) -> None:
    """Read back: writers change what a format cannot hold without an error."""
    try:
        written = read_nifti(temporary) if temporary.suffix == ".nii" else read_metaimage(temporary)
    except (RuntimeError, OSError, BadInputError) as error:
        raise came_out_broken(target) from error
    found, wanted = written.layers[0], volume.layers[0]
    same_voxels = found.shape == wanted.shape and all(map(np.array_equal, found, wanted))
    affine = volume.geometry.ijk_to_ras
    if temporary.suffix == ".nii" and not np.array_equal(written.geometry.ijk_to_ras, affine):
        affine = affine.astype(np.float32)  # a grid that no NIfTI file gave is rounded once
    if not same_voxels or not np.array_equal(written.geometry.ijk_to_ras, affine):
        raise not_in_this_format(target, "voxels or geometry would change", ".nrrd")
