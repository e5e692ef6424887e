"""What ITK does not tell about MetaImage files: a missing spacing, damaged numbers and compressed voxels.

Written here because ITK's own reader, the only one that is well kept, is what the damaged numbers crash.
"""

from __future__ import annotations

import math
import re
import zlib
from pathlib import Path

from ..core.errors import BadInputError

_MOST_FIELDS = 1000
_CHUNK_BYTES = 1 << 24
_LONGEST_NAME = 255
# One file a slice: ITK hands the name to printf with the slice's number and nothing else.
_NAME_PATTERN = re.compile(r"[^%]*(%0?\d{0,2}d[^%]*)?")
# Fields of several numbers; ITK calculates with them without end, or writes beyond its memory, where one is too large.
_NUMBERS = (
    "transformmatrix",
    "rotation",
    "orientation",
    "offset",
    "position",
    "origin",
    "centerofrotation",
    "elementspacing",
    "elementsize",
    "dimsize",
)
_LARGEST = 1e7


def read_header(path: Path) -> tuple[dict[str, str], int]:
    """The fields by lower-case name, and the position in the file where they end."""
    fields: dict[str, str] = {}
    with open(path, "rb") as stream:
        for line in stream:
            name, _, value = line.decode("latin-1").partition("=")
            fields[name.strip().lower()] = value.strip()
            if "elementdatafile" in fields or len(fields) > _MOST_FIELDS:
                break
        return fields, stream.tell()


def check_header(fields: dict[str, str], path: Path) -> None:
    """Refuse what ITK does not survive.

    Raises:
        BadInputError: a name is not of printable ASCII characters, or a number is none or beyond any image's.
    """
    words, hint = "{input} has a damaged MetaImage header", "export it again"
    broken = BadInputError(words, hint, "metaimage.header", input=path)
    if not all(name.isascii() and name.isprintable() for name in fields):
        raise broken
    if "ndims" in fields and fields["ndims"] not in map(str, range(1, 10)):
        raise broken
    for name in _NUMBERS:
        try:
            numbers = [float(word) for word in fields.get(name, "").split()]
        except ValueError as error:
            raise broken from error
        if not all(math.isnan(number) or abs(number) <= _LARGEST for number in numbers):
            raise broken


def check_data(fields: dict[str, str], header_bytes: int, path: Path) -> None:
    """Decompress compressed voxels once, because ITK goes on with zeros where that fails.

    Raises:
        BadInputError: the file with the voxels is missing or damaged.
    """
    data_file = fields.get("elementdatafile", "LOCAL")
    if len(data_file) > _LONGEST_NAME or not _NAME_PATTERN.fullmatch(data_file):
        raise BadInputError(
            "{input} names no voxel file that there can be", "export it again", "metaimage.data_name", input=path
        )
    if data_file.upper() != "LOCAL":
        path, header_bytes = path.parent / data_file, 0
        is_file_list = data_file.upper().startswith("LIST") or "%" in data_file
        if not path.is_file() and not is_file_list:
            raise BadInputError(
                "The voxel file {path} is missing", "keep it beside its header file", "metaimage.no_data", path=path
            )
    if fields.get("compresseddata", "").lower() != "true" or not path.is_file():
        return
    unpacked = zlib.decompressobj()
    with open(path, "rb") as stream:
        stream.seek(header_bytes)
        try:
            while not unpacked.eof and (chunk := stream.read(_CHUNK_BYTES)):
                unpacked.decompress(chunk)
        except zlib.error as error:
            raise BadInputError(
                "{input} is damaged ({reason})",
                "copy or export it again",
                "input.damaged_voxels",
                input=path,
                reason=error,
            ) from error
    if not unpacked.eof:
        raise BadInputError("{input} is truncated", "copy or export it again", "input.cut_short", input=path)
