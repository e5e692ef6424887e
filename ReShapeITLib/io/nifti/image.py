"""Voxels of NIfTI files: read whole and checked, written under the header that was read."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ...core.errors import BadInputError
from ...core.geometry import ImageGeometry
from ...core.label_scan import nonzero_values
from ...core.label_values import NEAR_INTEGER
from ...core.labels import Segment
from .header import HEADER_BYTES, NiftiHeader, header_class, new_header, placed
from .names import with_names

_CHUNK_BYTES = 1 << 24
_MOST_BYTES_BEFORE_VOXELS = 1 << 28
_ANALYZE_HINT = "convert it to .nii.gz, with 3D Slicer for example, and check left and right"


def read_header(path: Path) -> NiftiHeader:
    """What precedes the voxels of a .nii, .nii.gz, or of a pair's .hdr.

    Raises:
        BadInputError: the file is no NIfTI file or is damaged, or nibabel is missing.
    """
    header_class(348)  # that nibabel is missing is told before anything else
    with _opened(path) as stream:
        start = stream.read(4)
        lengths = {int.from_bytes(start, order) for order in ("little", "big")} & set(HEADER_BYTES)
        if not lengths:
            raise _no_nifti(path)
        (length,) = lengths
        prefix = start + stream.read(length - 4)
        if len(prefix) < length:
            raise _no_nifti(path)
        header = NiftiHeader(prefix)
        magic = bytes(header.fields["magic"])
        if not magic.startswith((b"n+", b"ni")):
            if length == 348 and path.suffix.lower() in (".hdr", ".img"):
                raise BadInputError(
                    "{input} is an Analyze file, which does not say left from right",
                    _ANALYZE_HINT,
                    "nifti.analyze",
                    input=path,
                )
            raise _no_nifti(path)
        if magic.startswith(b"ni"):
            return NiftiHeader(prefix + stream.read(_MOST_BYTES_BEFORE_VOXELS))
        return NiftiHeader(prefix + stream.read(_voxels_begin(header, path) - length))


def read_image(path: Path) -> tuple[np.ndarray, NiftiHeader]:
    """Stored values (..., K, J, I) in the machine's byte order, not yet scaled, and the header.

    Raises:
        BadInputError: the file is damaged or truncated, not of numbers, or has no three axes.
        OSError, EOFError, zlib.error: the compressed stream is damaged.
    """
    header_file, voxel_file = _pair(path)
    header = read_header(header_file)
    shape, dtype = header.shape, _number_type(header, path)
    if len(shape) < 3:
        raise BadInputError("{input} is {count}D", "give a 3D label map", "input.not_3d", input=path, count=len(shape))
    if min(shape) < 1:
        raise BadInputError("{input} has an axis without voxels", "export it again", "nifti.empty_axis", input=path)
    skipped = len(header.prefix)
    if voxel_file != header_file:
        skipped = _voxels_begin(header, path)
    expected = int(np.prod(shape, dtype=np.float64)) * dtype.itemsize
    voxels = _voxels(voxel_file, skipped, expected, path)
    array = np.frombuffer(voxels, dtype).reshape(shape[::-1])
    return array if dtype.isnative else array.astype(dtype.newbyteorder("=")), header


def write_image(
    array: np.ndarray,
    geometry: ImageGeometry,
    header: NiftiHeader | None,
    path: Path,
    segments: Sequence[Segment] = (),
) -> ImageGeometry:
    """Write (K, J, I) integer labels to an uncompressed .nii under the header that was read, or a new one.

    Where the stored type or scaling of the header cannot hold the labels, they are stored as they are, unscaled. Names
    of segments go into a label table, see ``names.with_names``.

    Returns:
        The geometry as the file says it.
    """
    if header is None or header.geometry is None:
        header = new_header(geometry, array.dtype)
    else:
        header = header.as_single_file()
        if not _same(header.geometry, geometry):
            header = placed(header, geometry)
        if not _holds(header, array):
            dtype = array.dtype.newbyteorder(header.fields.endianness)
            fields = header.fields.copy()
            fields.set_data_dtype(dtype)
            header = header.with_fields(fields).changed(scl_slope=1.0, scl_inter=0.0)
    header = with_names(header, segments)
    with open(path, "wb") as stream:
        stream.write(header.prefix)
        # Slice by slice, so that a scan's floats are never held at once.
        stream.writelines(np.ascontiguousarray(_stored(header, section), header.dtype).tobytes() for section in array)
    return geometry


def drop_type(header: NiftiHeader, dtype: np.dtype, n_axes: int = 3) -> NiftiHeader:
    """The header for labels of another type, unscaled, on the first axes alone: what probabilities become."""
    fields = header.fields.copy()
    fields.set_data_shape(header.shape[:n_axes])
    fields.set_data_dtype(np.dtype(dtype).newbyteorder(fields.endianness))
    fields["cal_min"], fields["cal_max"] = 0.0, 0.0
    return header.with_fields(fields).changed(scl_slope=1.0, scl_inter=0.0)


def _same(one: ImageGeometry | None, other: ImageGeometry) -> bool:
    return one is not None and one.size_ijk == other.size_ijk and np.array_equal(one.ijk_to_ras, other.ijk_to_ras)


def _stored(header: NiftiHeader, labels: np.ndarray) -> np.ndarray:
    """What the header's scaling makes labels of, limited to what its type holds.

    A writer that uses the whole range of an integer stores its largest label a step below where it would be.
    """
    (slope, inter), dtype = header.scale, header.dtype
    if (slope, inter) == (1.0, 0.0):
        return labels
    stored = np.rint((labels - inter) / slope)
    if dtype.kind == "f":
        return stored
    limits = np.iinfo(dtype)
    return np.clip(stored, limits.min, limits.max)


def _holds(header: NiftiHeader, array: np.ndarray) -> bool:
    """True where type and scaling of the header give all these labels back."""
    (slope, inter), dtype = header.scale, header.dtype
    labels = np.array([int(array.min()), int(array.max())], dtype=object)
    if (slope, inter) != (1.0, 0.0):
        labels = np.array([0, *nonzero_values(array)], dtype=np.float64)
        stored = _stored(header, labels)
        return float(np.abs(stored * slope + inter - labels).max()) <= NEAR_INTEGER and np.abs(stored).max() < 2.0**53
    if dtype.kind == "f":
        return float(np.abs(labels).max()) <= 2.0 ** (np.finfo(dtype).nmant + 1)
    return bool(np.iinfo(dtype).min <= labels.min() and labels.max() <= np.iinfo(dtype).max)


def _voxels(path: Path, skipped: int, expected: int, told: Path) -> bytearray:
    """The voxels' bytes; all that follows is read too, because only its end tells whether a stream is sound."""
    voxels, beyond = bytearray(), 0
    with _opened(path) as stream:
        while skipped:
            passed = len(stream.read(min(skipped, _CHUNK_BYTES)))
            if not passed:
                break
            skipped -= passed
        while chunk := stream.read(_CHUNK_BYTES):
            wanted = chunk[: expected - len(voxels)]
            voxels += wanted
            beyond += len(chunk) - len(wanted)
            if not wanted and not path.name.lower().endswith(".gz"):
                break
    if len(voxels) < expected:
        raise BadInputError(
            "{input} is truncated ({found} of {expected} bytes)",
            "copy or export it again",
            "input.truncated",
            input=told,
            found=len(voxels),
            expected=expected,
        )
    return voxels


def _number_type(header: NiftiHeader, path: Path) -> np.dtype:
    """The voxels' type, where they are real numbers."""
    from nibabel.spatialimages import HeaderDataError

    try:
        dtype = header.dtype
    except (HeaderDataError, KeyError) as error:
        code = int(header.fields["datatype"])
        raise BadInputError(
            "{input} stores voxels of a type that this program does not read (NIfTI datatype {type})",
            "convert it to integers",
            "input.voxel_type",
            input=path,
            type=code,
        ) from error
    if dtype.kind not in "iuf" or any(n > 1 for n in header.shape[4:]):
        raise BadInputError(
            "{input} is a colour or vector image",
            "give a label map with one value per voxel",
            "input.vector",
            input=path,
        )
    return dtype


def _voxels_begin(header: NiftiHeader, path: Path) -> int:
    """Where the voxels begin in their file."""
    offset = float(header.fields["vox_offset"])
    if not 0 <= offset < _MOST_BYTES_BEFORE_VOXELS:  # NaN neither
        raise BadInputError(
            "{input} does not say where its voxels begin (vox_offset {offset})",
            "export it again",
            "nifti.offset",
            input=path,
            offset=offset,
        )
    single = bytes(header.fields["magic"]).startswith(b"n+")
    return max(int(offset), header.length + 4) if single else int(offset)


def _pair(path: Path) -> tuple[Path, Path]:
    """Files of header and voxels: the same, or the .hdr and the .img of a pair."""
    if path.suffix.lower() not in (".hdr", ".img"):
        return path, path
    files = [path.with_suffix(suffix) for suffix in (".hdr", ".img")]
    if path.suffix.isupper():
        files = [file.with_suffix(file.suffix.upper()) for file in files]
    for file in files:
        if not file.is_file():
            words = "{input} is one of two files, and {missing} is missing"
            hint = "keep both in one folder"
            raise BadInputError(words, hint, "nifti.pair", input=path, missing=file.name)
    return files[0], files[1]


def _no_nifti(path: Path) -> BadInputError:
    return BadInputError("{input} is not a NIfTI file or is damaged", "export it again", "nifti.none", input=path)


def _opened(path: Path) -> gzip.GzipFile | BinaryIO:
    return gzip.open(path, "rb") if path.name.lower().endswith(".gz") else open(path, "rb")
