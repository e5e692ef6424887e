"""What ITK does not tell about NIfTI-1 files, from nibabel's header.

ITK rounds the affine on writing, straightens it on reading, reads a truncated file as zeros and NaN as zero, and puts
1 mm where the spacing is missing. So the header and the size of the data are looked at here; voxels stay with ITK, as
Slicer reads them. nibabel is imported when a NIfTI file is read, because the Slicer extension does not install it.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from ..core.errors import MISSING_PACKAGE, BadInputError

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

_HEADER_BYTES = 348
_FLOAT_TYPES = {16: "f4", 64: "f8"}  # NIfTI datatype codes
_CHUNK_BYTES = 1 << 24


def read_header(path: Path) -> Nifti1Header:
    """The header as it is in the file.

    Raises:
        BadInputError: the file is no NIfTI-1 file, or nibabel is missing.
    """
    try:
        from nibabel.nifti1 import Nifti1Header
    except ImportError as error:
        hint = "install it, or use a .nrrd or .mha file"
        words = "NIfTI files need the Python package {package}"
        raise BadInputError(words, hint, MISSING_PACKAGE, package="nibabel") from error
    from nibabel.wrapstruct import WrapStructError

    try:
        with _opened(path) as stream:
            header = Nifti1Header(stream.read(_HEADER_BYTES), check=False)
    except WrapStructError as error:
        raise _no_nifti(path) from error
    if header["sizeof_hdr"] != _HEADER_BYTES:
        raise _no_nifti(path)
    if not 0 <= header["vox_offset"] < 2**31:  # NaN neither
        offset = header["vox_offset"]
        raise BadInputError(f"{path} does not say where its voxels begin (vox_offset {offset}): export it again.")
    return header


def exact_sform_ras(header: Nifti1Header, path: Path) -> np.ndarray | None:
    """(4, 4) ijk -> RAS mm of the sform, None where only the qform is valid.

    Raises:
        BadInputError: neither is valid, or the spacing is zero or NaN: the file does not say where its voxels lie.
    """
    if header["qform_code"] <= 0 and header["sform_code"] <= 0:
        raise BadInputError(f"{path} carries no voxel geometry (qform and sform codes are 0): export it again with it.")
    sform = header.get_sform() if header["sform_code"] > 0 else None
    spacing_mm = header["pixdim"][1 : 1 + np.clip(header["dim"][0], 0, 3)]
    broken = not np.isfinite(spacing_mm).all() or 0 in spacing_mm
    if sform is not None:
        broken = broken or not np.isfinite(sform).all() or abs(np.linalg.det(sform[:3, :3])) < 1e-12
    if broken:
        raise BadInputError(f"{path} has a zero or NaN voxel spacing or direction: export it again with its geometry.")
    return None if sform is None else sform + 0.0  # no -0.0


def check_data(header: Nifti1Header, path: Path) -> None:
    """Read all the data once.

    Raises:
        BadInputError: there is less data than the header says, or there are NaN or infinite values.
        OSError, EOFError, zlib.error: the compressed stream is damaged.
    """
    size = header["dim"][1 : 1 + np.clip(header["dim"][0], 0, 7)]
    expected = int(np.prod(size, dtype=np.int64)) * int(header["bitpix"]) // 8
    dtype = _FLOAT_TYPES.get(int(header["datatype"]))
    found = 0
    with _opened(path) as stream:
        stream.seek(int(header["vox_offset"]))
        while chunk := stream.read(_CHUNK_BYTES):
            found += len(chunk)
            whole = len(chunk) // 8 * 8
            if dtype and not np.isfinite(np.frombuffer(chunk[:whole], header.endianness + dtype)).all():
                raise BadInputError(f"{path} holds NaN or infinite values: give a label map (integer values).")
    if found < expected:
        raise BadInputError(f"{path} is truncated ({found} of {expected} bytes): copy or export it again.")


def patch_sform_ras(path: Path, ijk_to_ras: np.ndarray) -> None:
    """Overwrite the sform rows of an uncompressed file with the 32-bit floats nearest to ``ijk_to_ras``.

    ITK multiplies spacing and direction in 32 bits, so every writing would move the affine a little further.
    """
    header = read_header(path)
    header.set_sform(ijk_to_ras, int(header["sform_code"]))
    with open(path, "r+b") as stream:
        stream.write(header.binaryblock)


def _no_nifti(path: Path) -> BadInputError:
    return BadInputError(f"{path} is not a NIfTI-1 file or is damaged: export it again.")


def _opened(path: Path) -> gzip.GzipFile | BinaryIO:
    return gzip.open(path, "rb") if path.name.lower().endswith(".gz") else open(path, "rb")
