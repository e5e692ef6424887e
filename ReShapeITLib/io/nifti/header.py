"""Headers of NIfTI-1 and NIfTI-2 files, kept to the byte.

What comes before the voxels is kept as it is in the file: both forms and their codes, scaling, units, intent,
description, extensions. nibabel knows its fields. It is imported when a NIfTI file is read or written, because the
Slicer extension does not install it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...core.errors import MISSING_PACKAGE, BadInputError, Notice
from ...core.geometry import ImageGeometry

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

HEADER_BYTES = {348: 1, 540: 2}
EXTENDER_BYTES = 4
_MOST_DIMENSIONS = 7
_NO_SKEW = 1e-6  # what 32-bit numbers leave of orthogonal axes
_VOXELS_APART = 0.1  # from here on the two forms are told to differ


@dataclass(frozen=True, eq=False)
class NiftiHeader:
    """What precedes the voxels of a NIfTI file.

    Args:
        prefix: the bytes of header, extension flag and extensions, and whatever else stands before the voxels.
        geometry: the grid of the file as it is used; ``None`` for a header that is being made.
    """

    prefix: bytes
    geometry: ImageGeometry | None = None

    @property
    def length(self) -> int:
        """Bytes of the header without extensions."""
        return 540 if self.prefix[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c") else 348

    @cached_property
    def fields(self) -> Nifti1Header:
        """The fields, unchecked, as nibabel names them."""
        return header_class(self.length)(self.prefix[: self.length], check=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of voxels along i, j, k and the further axes."""
        count = int(np.clip(self.fields["dim"][0], 0, _MOST_DIMENSIONS))
        return tuple(int(n) for n in self.fields["dim"][1 : 1 + count])

    @property
    def scale(self) -> tuple[float, float]:
        """Slope and intercept of the stored values; (1, 0) where the header asks for none."""
        slope, inter = float(self.fields["scl_slope"]), float(self.fields["scl_inter"])
        if slope == 0 or not np.isfinite(slope):
            return 1.0, 0.0
        return slope, inter if np.isfinite(inter) else 0.0

    @property
    def dtype(self) -> np.dtype:
        """Type of the stored values, with their byte order."""
        dtype: np.dtype = self.fields.get_data_dtype()
        return dtype

    @property
    def extensions(self) -> list[tuple[int, bytes]]:
        """Code and content of each extension; what is damaged and what follows it is left out."""
        found, order = [], "<" if self.fields.endianness == "<" else ">"
        place = self.length + EXTENDER_BYTES
        if self.prefix[self.length : self.length + 1] in (b"", b"\0"):
            return []
        while place + 8 <= len(self.prefix):
            size, code = (int(n) for n in np.frombuffer(self.prefix, order + "i4", 2, place))
            if size < 8 or place + size > len(self.prefix):
                break
            found.append((code, self.prefix[place + 8 : place + size]))
            place += size
        return found

    def changed(self, **values: object) -> NiftiHeader:
        """The header with other values of some fields."""
        fields = self.fields.copy()
        for name, value in values.items():
            fields[name] = value
        return self.with_fields(fields)

    def with_fields(self, fields: Nifti1Header) -> NiftiHeader:
        """The same extensions after other fields."""
        return dataclasses.replace(self, prefix=fields.binaryblock + self.prefix[self.length :])

    def as_single_file(self) -> NiftiHeader:
        """The header of a .hdr/.img pair as that of a .nii file; that of a .nii as it is."""
        magic = bytes(self.fields["magic"])
        if not magic.startswith(b"ni"):
            return self
        tail = self.prefix[self.length :] or bytes(EXTENDER_BYTES)
        tail += bytes(-(self.length + len(tail)) % 16)  # voxels begin at multiples of 16 bytes
        whole = dataclasses.replace(self, prefix=self.prefix[: self.length] + tail)
        return whole.changed(magic=b"n+" + magic[2:], vox_offset=len(whole.prefix))


def header_class(length: int) -> type[Nifti1Header]:
    """nibabel's class for headers of that many bytes.

    Raises:
        BadInputError: nibabel is missing.
    """
    try:
        from nibabel.nifti1 import Nifti1Header
        from nibabel.nifti2 import Nifti2Header
    except ImportError as error:
        hint = "install it, or use a .nrrd or .mha file"
        words = "NIfTI files need the Python package {package}"
        raise BadInputError(words, hint, MISSING_PACKAGE, package="nibabel") from error
    chosen: type[Nifti1Header] = Nifti2Header if HEADER_BYTES[length] == 2 else Nifti1Header
    return chosen


def new_header(geometry: ImageGeometry, dtype: np.dtype) -> NiftiHeader:
    """The header of a file that was no NIfTI file, with both forms where the qform can hold the grid.

    Raises:
        ValueError: the grid is too large for the format.
    """
    large = max(geometry.size_ijk) >= 2**15
    length = 540 if large else 348
    fields = header_class(length)(endianness="<")
    fields.set_data_shape(geometry.size_ijk)
    fields.set_data_dtype(np.dtype(dtype).newbyteorder("<"))
    fields.set_xyzt_units("mm")
    offset = (length + EXTENDER_BYTES + 15) // 16 * 16
    fields["magic"] = b"n+2\0\r\n\x1a\n" if large else b"n+1"
    fields["vox_offset"] = offset
    # No scaling: nibabel writes NaN, which some readers take at its word.
    fields["scl_slope"], fields["scl_inter"] = 1.0, 0.0
    header = NiftiHeader(fields.binaryblock + bytes(offset - length))
    return placed(header, geometry)


def placed(header: NiftiHeader, geometry: ImageGeometry) -> NiftiHeader:
    """A header for another grid: both forms say it, or the sform alone where the grid is sheared."""
    fields = header.fields.copy()
    codes = int(fields["sform_code"]) or 1, int(fields["qform_code"]) or 1
    spacing = geometry.spacing_mm
    fields.set_data_shape((*geometry.size_ijk, *header.shape[3:]))
    fields["pixdim"][1:4] = spacing
    fields.set_sform(geometry.ijk_to_ras, codes[0])
    if geometry.skew < _NO_SKEW:
        fields.set_qform(geometry.ijk_to_ras, codes[1])
    else:
        fields["qform_code"] = 0
    return header.with_fields(fields)


def geometry_of(header: NiftiHeader, path: Path) -> tuple[ImageGeometry, tuple[Notice, ...]]:
    """The grid by the field's convention (the sform where its code is set, else the qform), and what to tell.

    Raises:
        BadInputError: neither form is set, or the spacing or a direction is zero or NaN.
    """
    fields = header.fields
    i, j, k = header.shape[:3]
    if fields["qform_code"] <= 0 and fields["sform_code"] <= 0:
        raise BadInputError(
            "{input} carries no voxel geometry (qform and sform codes are 0)",
            "export it again with it",
            "nifti.no_geometry",
            input=path,
        )
    qform = _qform_ras(header) if fields["qform_code"] > 0 else None
    spacing_mm = np.asarray(fields["pixdim"][1:4], dtype=np.float64)
    try:
        if not np.isfinite(spacing_mm).all() or 0 in spacing_mm:
            raise ValueError("spacing")
        if fields["sform_code"] <= 0:
            return ImageGeometry(np.full((4, 4), np.nan) if qform is None else qform + 0.0, (i, j, k)), ()
        geometry = ImageGeometry(fields.get_sform() + 0.0, (i, j, k))  # no -0.0
    except ValueError as error:
        raise BadInputError(
            "{input} has a zero, missing or NaN voxel spacing or direction",
            "export it again with its geometry",
            "geometry.broken",
            input=path,
        ) from error
    gap_mm = _largest_gap_mm(geometry, qform)
    if gap_mm <= _VOXELS_APART * float(geometry.spacing_mm.min()):
        return geometry, ()
    words = "sform and qform of {input} place voxels up to {gap_mm} mm apart; the sform is used, and both are kept."
    return geometry, (Notice(words, "nifti.forms_differ", input=path, gap_mm=f"{gap_mm:.3g}"),)


def _largest_gap_mm(geometry: ImageGeometry, other: np.ndarray | None) -> float:
    """How far apart two affines place a corner of the grid; 0 where the other is not usable."""
    if other is None or not np.isfinite(other).all():
        return 0.0
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in geometry.size_ijk])).reshape(3, -1)
    gaps = (geometry.ijk_to_ras - other)[:3] @ np.vstack([corners, np.ones(corners.shape[1])])
    return float(np.linalg.norm(gaps, axis=0).max())


def _qform_ras(header: NiftiHeader) -> np.ndarray | None:
    """(4, 4) ijk to RAS mm of the qform; None where it says none.

    Rounded quaternions are normalised as the format's reference implementation does (nifti_quatern_to_mat44).
    """
    from nibabel.quaternions import quat2mat

    fields = header.fields
    vector = np.array([fields[f"quatern_{axis}"] for axis in "bcd"], dtype=np.float64)
    spacing = np.array(fields["pixdim"][1:4], dtype=np.float64)
    if not (np.isfinite(vector).all() and (spacing > 0).all() and np.isfinite(spacing).all()):
        return None
    rest = 1.0 - float(vector @ vector)
    if rest < 1e-7:
        vector, rest = vector / np.linalg.norm(vector), 0.0
    spacing[2] *= -1 if fields["pixdim"][0] < 0 else 1
    matrix = np.eye(4)
    matrix[:3, :3] = quat2mat(np.array([np.sqrt(rest), *vector])) * spacing
    matrix[:3, 3] = [fields[f"qoffset_{axis}"] for axis in "xyz"]
    return matrix if np.isfinite(matrix).all() else None
