"""What ITK does not tell about NIfTI-1 files.

ITK rounds the affine on writing, straightens it on reading, reads a truncated file as zeros and NaN as zero, and puts
1 mm where the spacing is missing. So the header and the size of the data are looked at here.
Format: https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h (byte offsets from there).
"""

from __future__ import annotations

import gzip
import io
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.errors import BadInputError

_HEADER_BYTES = 348
_SFORM = slice(280, 328)  # srow_x, srow_y, srow_z
_FLOAT_TYPES = {16: "f4", 64: "f8"}  # NIFTI datatype codes
_CHUNK_BYTES = 1 << 24


@dataclass(frozen=True)
class NiftiHeader:
    """The fields needed here; ``byte_order`` is ``<`` or ``>``, ``sform_ras`` the raw (3, 4) rows."""

    byte_order: str
    size: tuple[int, ...]
    datatype: int
    bits_per_voxel: int
    spacing_mm: tuple[float, ...]
    data_offset: int
    qform_code: int
    sform_code: int
    sform_ras: np.ndarray


def read_header(path: Path) -> NiftiHeader:
    """Parse the header.

    Raises:
        BadInputError: the file is no NIfTI-1 file.
    """
    with _opened(path) as stream:
        head = stream.read(_HEADER_BYTES)
    order = _byte_order(head)
    if order is None:
        raise BadInputError(f"{path} is not a NIfTI-1 file or is damaged: export it again.")
    dimensions = struct.unpack(order + "8h", head[40:56])
    datatype, bits_per_voxel = struct.unpack(order + "2h", head[70:74])
    spacing_mm = struct.unpack(order + "8f", head[76:108])
    qform_code, sform_code = struct.unpack(order + "2h", head[252:256])
    (data_offset,) = struct.unpack(order + "f", head[108:112])
    if not 0 <= data_offset < 2**31:  # NaN neither
        raise BadInputError(f"{path} does not say where its voxels begin (vox_offset {data_offset}): export it again.")
    count = min(max(dimensions[0], 0), 7)
    return NiftiHeader(
        byte_order=order,
        size=dimensions[1 : 1 + count],
        datatype=datatype,
        bits_per_voxel=bits_per_voxel,
        spacing_mm=spacing_mm[1 : 1 + min(count, 3)],
        data_offset=int(data_offset),
        qform_code=qform_code,
        sform_code=sform_code,
        sform_ras=np.frombuffer(head[_SFORM], order + "f4").reshape(3, 4).astype(np.float64),
    )


def exact_sform_ras(header: NiftiHeader, path: Path) -> np.ndarray | None:
    """(4, 4) ijk -> RAS mm of the sform, None where only the qform is valid.

    Raises:
        BadInputError: neither is valid, or the spacing is zero or NaN: the file does not say where its voxels lie.
    """
    if header.qform_code <= 0 and header.sform_code <= 0:
        raise BadInputError(f"{path} carries no voxel geometry (qform and sform codes are 0): export it again with it.")
    rows = header.sform_ras
    broken = not np.isfinite(header.spacing_mm).all() or 0 in header.spacing_mm
    if header.sform_code > 0:
        broken = broken or not np.isfinite(rows).all() or abs(np.linalg.det(rows[:, :3])) < 1e-12
    if broken:
        raise BadInputError(f"{path} has a zero or NaN voxel spacing or direction: export it again with its geometry.")
    return np.vstack([rows + 0.0, [0.0, 0.0, 0.0, 1.0]]) if header.sform_code > 0 else None


def check_data(header: NiftiHeader, path: Path) -> None:
    """Read all the data once.

    Raises:
        BadInputError: there is less data than the header says, or there are NaN or infinite values.
        OSError, EOFError, zlib.error: the compressed stream is damaged.
    """
    expected = int(np.prod(header.size, dtype=np.int64)) * header.bits_per_voxel // 8
    dtype = _FLOAT_TYPES.get(header.datatype)
    found = 0
    with _opened(path) as stream:
        stream.seek(header.data_offset)
        while chunk := stream.read(_CHUNK_BYTES):
            found += len(chunk)
            whole = len(chunk) // 8 * 8
            if dtype and not np.isfinite(np.frombuffer(chunk[:whole], header.byte_order + dtype)).all():
                raise BadInputError(f"{path} holds NaN or infinite values: give a label map (integer values).")
    if found < expected:
        raise BadInputError(f"{path} is truncated ({found} of {expected} bytes): copy or export it again.")


def patch_sform_ras(path: Path, ijk_to_ras: np.ndarray) -> None:
    """Overwrite the sform rows of an uncompressed file with the 32-bit floats nearest to ``ijk_to_ras``.

    ITK multiplies spacing and direction in 32 bits, so every writing would move the affine a little further.
    """
    order = read_header(path).byte_order
    with open(path, "r+b") as stream:
        stream.seek(_SFORM.start)
        stream.write(np.asarray(ijk_to_ras)[:3].astype(order + "f4").tobytes())


def _opened(path: Path) -> io.BufferedIOBase:
    return gzip.open(path, "rb") if path.name.lower().endswith(".gz") else open(path, "rb")


def _byte_order(head: bytes) -> str | None:
    """``<`` or ``>``, None where this is no NIfTI-1 header."""
    if len(head) < _HEADER_BYTES:
        return None
    return next((order for order in "<>" if struct.unpack(order + "i", head[:4])[0] == _HEADER_BYTES), None)
