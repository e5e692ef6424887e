"""Label volumes from and to files: .nrrd .seg.nrrd .nii .nii.gz .mha .mhd.

What "exact" means here: voxels and their type always come back as they were. The affine comes back to the last bit
from NRRD and MetaImage; NIfTI stores it as 32-bit floats, so it is rounded to those once and then stays. Names, ids,
colours and overlaps of segments live in NRRD only. Every file but NRRD is read back before it takes its place.
"""

from __future__ import annotations

import gzip
import shutil
import zlib
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..core.errors import MISSING_PACKAGE, BadInputError
from ..core.geometry import LPS_TO_RAS, ImageGeometry
from ..core.labels import LabelVolume, integer_labels
from ..core.parallel import together
from . import metaimage_header, nifti_header, seg_nrrd
from .atomic import FilePath, atomic_path, came_out_broken, cannot_write, file_suffix, require_file

if TYPE_CHECKING:
    import SimpleITK

_IMAGE_IO = {
    ".nrrd": "NrrdImageIO",
    ".seg.nrrd": "NrrdImageIO",
    ".nii": "NiftiImageIO",
    ".nii.gz": "NiftiImageIO",
    ".mha": "MetaImageIO",
    ".mhd": "MetaImageIO",
}
LABEL_SUFFIXES = tuple(_IMAGE_IO)
_NO_SPACING = "{} carries no voxel spacing, so sizes in mm are unknown: export it again with its geometry."
UNREADABLE, OTHER_FORMAT = "input.unreadable", "output.format"
_BROKEN_SPACING = "{} has a zero, missing or NaN voxel spacing or direction: export it again with its geometry."


def read_labels(path: FilePath) -> LabelVolume:
    """Read a label map or segmentation; the extension says the format.

    Raises:
        BadInputError: the file is missing, unreadable, not 3D, not made of integers, or has no geometry.
    """
    suffix = label_file_suffix(path)
    path = require_file(path, "label file")
    try:
        if suffix.endswith("nrrd"):
            return _read_nrrd(path)
        if suffix.startswith(".nii"):
            return _read_nifti(path)
        return _read_metaimage(path)
    except (OSError, EOFError, zlib.error) as error:
        hint = "it may be damaged, export it again"
        raise BadInputError("Cannot read {input} ({reason})", hint, UNREADABLE, input=path, reason=error) from error
    except BadInputError as error:
        raise error.about(UNREADABLE, input=path) from error


def write_labels(volume: LabelVolume, path: FilePath, names: Mapping[int, str] | None = None) -> None:
    """Write a volume; the extension says the format, ``names`` (label to name) name segments of a .seg.nrrd.

    Raises:
        BadInputError: the folder does not take the file, or the format cannot hold the volume.
    """
    suffix = label_file_suffix(path)
    if suffix == ".seg.nrrd":
        volume = volume.with_segments(names)
        with atomic_path(path) as temporary:
            seg_nrrd.write_nrrd(volume, temporary)
        return
    flat = LabelVolume((volume.flattened(),), volume.geometry, header=volume.header)
    if suffix == ".nrrd":
        with atomic_path(path) as temporary:
            seg_nrrd.write_nrrd(flat, temporary, write_segments=False)
        return
    # A .mhd gets its voxels into the same file ("LOCAL"), so that one rename replaces it as a whole.
    with atomic_path(path, suffix=".mha" if suffix.startswith(".mh") else ".nii") as temporary:
        _write_with_itk(flat, temporary, Path(path))
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


def geometry_from_sitk(image: SimpleITK.Image) -> ImageGeometry:
    """Geometry of a 3D SimpleITK image (LPS there, RAS here)."""
    lps = np.eye(4)
    lps[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    lps[:3, 3] = image.GetOrigin()
    return ImageGeometry(LPS_TO_RAS @ lps + 0.0, image.GetSize())


def geometry_to_sitk(image: SimpleITK.Image, geometry: ImageGeometry) -> SimpleITK.Image:
    """Give a SimpleITK image the geometry, such that ``geometry_from_sitk`` returns it to the last bit.

    Returns the image. Its size must be that of the geometry.
    """
    if tuple(image.GetSize()) != geometry.size_ijk:
        raise ValueError(f"the image has size {image.GetSize()}, the geometry {geometry.size_ijk}")
    lps = LPS_TO_RAS @ geometry.ijk_to_ras + 0.0
    parts = [_spacing_and_direction(lps[:3, column]) for column in range(3)]
    image.SetSpacing([spacing for spacing, _ in parts])
    image.SetDirection(np.column_stack([direction for _, direction in parts]).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


def _spacing_and_direction(vector: np.ndarray) -> tuple[float, np.ndarray]:
    """Split a voxel edge into length and direction whose floating-point product is the edge again.

    Plain division often misses by the last bit; a length a few bits beside the true one usually does not.
    """
    length = float(np.linalg.norm(vector))
    steps = np.arange(512)
    steps = np.where(steps % 2, -(steps + 1) // 2, steps // 2)  # 0, -1, 1, -2, 2 ...
    lengths = (length * (1.0 + steps * 2.0**-52))[:, None, None]
    nearest = vector / lengths[:, 0]
    choices = np.stack([nearest, np.nextafter(nearest, -np.inf), np.nextafter(nearest, np.inf)], axis=1)
    hit = choices * lengths == vector
    usable = np.flatnonzero(hit.any(axis=1).all(axis=1))
    if not len(usable):
        return length, vector / length
    first = usable[0]
    return float(lengths[first, 0, 0]), choices[first][hit[first].argmax(axis=0), range(3)]


def label_file_suffix(path: FilePath) -> str:
    """Suffix of a label file, or BadInputError where this library neither reads nor writes such files."""
    suffix = file_suffix(path)
    if suffix not in _IMAGE_IO:
        raise BadInputError(f"{path} has no known label map extension: use one of {', '.join(_IMAGE_IO)}.")
    return suffix


def _read_nrrd(path: Path) -> LabelVolume:
    header = seg_nrrd.read_header(path)
    if "space directions" not in header.fields and "spacings" not in header.fields:
        raise BadInputError(_NO_SPACING.format(path))
    if "space directions" not in header.fields:
        _check_spacing(header.fields["spacings"].split(), path)
    try:
        matrix = seg_nrrd.header_affine_ras(header)
    except (ValueError, IndexError) as error:
        raise BadInputError(_BROKEN_SPACING.format(path)) from error
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
    header = nifti_header.read_header(path)
    sform = nifti_header.exact_sform_ras(header, path)
    nifti_header.check_data(header, path)
    array, geometry = read_voxels(path)
    if sform is not None:
        # ITK (and so Slicer) decides between sform and qform; where it is the sform, its own numbers are exact.
        exact = ImageGeometry(sform, geometry.size_ijk)
        if exact.same_grid_as(geometry, tolerance_mm=0.1 * float(geometry.spacing_mm.min())):
            geometry = exact
    return LabelVolume((integer_labels(array, str(path)),), geometry, source=str(path))


def _check_spacing(numbers: Iterable[str], path: Path) -> None:
    """BadInputError where a spacing given as text is zero, NaN or no number; ITK may put 1 mm instead."""
    try:
        lengths = [float(number) for number in numbers]
    except ValueError:
        lengths = [0.0]
    if not all(np.isfinite(length) and length != 0 for length in lengths):
        raise BadInputError(_BROKEN_SPACING.format(path))


def read_voxels(path: Path, layered: bool = False) -> tuple[np.ndarray, ImageGeometry]:
    """Voxels (K, J, I) of any type, or (K, J, I, layer) where ``layered`` and there are several, and the geometry;
    BadInputError where the file is damaged, not 3D, or (unless ``layered``) has several values per voxel."""
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetImageIO(_IMAGE_IO[file_suffix(path)])
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        size = reader.GetSize()
        if len(size) < 3 or any(n != 1 for n in size[3:]):
            raise BadInputError(f"{path} is {len(size)}D: give a 3D label map.")
        if reader.GetNumberOfComponents() > 1 and not layered:
            raise BadInputError(f"{path} is a colour or vector image: give a label map with one value per voxel.")
        if len(size) > 3:
            reader.SetExtractSize([*size[:3], *[0] * (len(size) - 3)])
        image = reader.Execute()
    except RuntimeError as error:
        raise BadInputError(f"Cannot read {path}: it is damaged or of another format, export it again.") from error
    try:
        geometry = geometry_from_sitk(image)
    except ValueError as error:
        raise BadInputError(_BROKEN_SPACING.format(path)) from error
    return sitk.GetArrayFromImage(image), geometry


def _write_with_itk(volume: LabelVolume, temporary: Path, target: Path) -> None:
    """Write by SimpleITK."""
    import SimpleITK as sitk

    geometry, is_nifti = volume.geometry, temporary.suffix == ".nii"
    skew = np.abs(geometry.direction_ras.T @ geometry.direction_ras - np.eye(3)).max()
    if is_nifti and skew > 1e-4:
        raise cannot_write(target, "NIfTI cannot hold a sheared grid reliably", "write .nrrd instead", OTHER_FORMAT)
    try:
        image = geometry_to_sitk(sitk.GetImageFromArray(volume.layers[0]), geometry)
        sitk.WriteImage(image, str(temporary), useCompression=not is_nifti)
        if is_nifti:
            nifti_header.patch_sform_ras(temporary, geometry.ijk_to_ras)
    except (RuntimeError, BadInputError) as error:
        if getattr(error, "code", "") == MISSING_PACKAGE:
            raise
        raise came_out_broken(target) from error


def _check_written(volume: LabelVolume, temporary: Path, target: Path) -> None:
    """Read back: ITK's writers change what a format cannot hold without an error."""
    geometry, is_nifti = volume.geometry, temporary.suffix == ".nii"
    try:
        written = read_labels(temporary)
    except (RuntimeError, BadInputError) as error:
        raise came_out_broken(target) from error
    affine = geometry.ijk_to_ras.astype(np.float32) if is_nifti else geometry.ijk_to_ras
    found, wanted = written.layers[0], volume.layers[0]
    same_voxels = found.shape == wanted.shape and all(map(np.array_equal, found, wanted))
    if not same_voxels or not np.array_equal(written.geometry.ijk_to_ras, affine):
        raise cannot_write(target, "this format does not hold it exactly", "write .nrrd instead", OTHER_FORMAT)
