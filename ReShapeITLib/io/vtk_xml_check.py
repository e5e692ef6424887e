"""What VTK's reader of .vtp files does not look at: counts and offsets that make it write over its own memory."""

from __future__ import annotations

import re
import struct
import zlib
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

_XML_TYPES = {"String", "Float32", "Float64", *(f"{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64))}
_ARRAYS = ("DataArray", "Array")
_XML_CELLS = {"Verts", "Lines", "Strips", "Polys"}
_XML_PARTS = {"PointData", "CellData", "Points", "FieldData", *_XML_CELLS}
_BEST_COMPRESSION = 1100  # zlib makes nothing smaller than by this factor
_MOST_COMPONENTS = 100


def xml_file_is_sound(path: Path) -> bool:
    """True where a .vtp file has all arrays that VTK asks it for, of types that it knows, and no count, offset or block
    is larger than the file can hold."""
    content = path.read_bytes()
    markup, appended, data = content.partition(b"<AppendedData")
    opening = re.match(rb"([^<>]*)>\s*_", data)  # VTK loses its place where anything else comes first
    if re.search(rb"<!(?!--)", markup) or (appended and not opening):  # declarations can make a small file a large one
        return False
    try:
        root = ElementTree.fromstring(markup + b"</VTKFile>" if appended else markup)  # noqa: S314 (no declarations)
    except ElementTree.ParseError:
        return False
    arrays = None
    if opening and b'encoding="raw"' in opening[1]:
        arrays = _AppendedData(content, len(content) - len(data) + opening.end(), root)
    if not _is_polygons(root) or not all(_counts_fit(element, len(content)) for element in root.iter()):
        return False
    found = [element for element in root.iter() if element.tag in _ARRAYS]
    if not all(_array_is_sound(array, len(content) if appended else -1, arrays) for array in found):
        return False
    cells = [(piece, part) for piece in root.iter("Piece") for part in piece if part.tag in _XML_CELLS]
    return all(_cells_are_sound(piece, part, arrays) for piece, part in cells)


def _is_polygons(root: ElementTree.Element) -> bool:
    """Whether the file is one of polygons, of pieces that have all their parts."""
    if root.tag != "VTKFile" or root.get("type") != "PolyData" or [child.tag for child in root] != ["PolyData"]:
        return False
    pieces = root[0].findall("Piece")
    return len(pieces) + len(root[0].findall("FieldData")) == len(root[0]) and all(map(_piece_is_whole, pieces))


def _array_is_sound(array: ElementTree.Element, most: int, arrays: _AppendedData | None) -> bool:
    """Whether type and format of an array are known, and an appended one begins, and ends as far as this can be known
    here, within the file; ``most`` is the largest offset."""
    if array.get("type") not in _XML_TYPES or array.get("format") not in ("ascii", "binary", "appended"):
        return False
    if array.get("format") != "appended":
        return True
    offset = array.get("offset", "")
    if not re.fullmatch(r"\d{1,12}", offset) or int(offset) > most:
        return False
    return arrays is None or arrays.array_is_whole(int(offset))


def _cells_are_sound(piece: ElementTree.Element, cells: ElementTree.Element, arrays: _AppendedData | None) -> bool:
    """Whether cells are of whole numbers and, as far as this can be known here, as many as their piece says."""
    by_name = {array.get("Name"): array for array in cells}
    if not all("Int" in array.get("type") for array in cells):
        return False
    if arrays is None or not all(array.get("format") == "appended" for array in cells):
        return True
    count = int(piece.get(f"NumberOf{cells.tag}", "0"))
    return arrays.cells_are_sound(count, by_name["offsets"], by_name["connectivity"])


def _piece_is_whole(piece: ElementTree.Element) -> bool:
    """Whether a piece has nothing but parts that VTK knows, each with its arrays."""
    tags = [part.tag for part in piece]
    if not set(tags) <= _XML_PARTS or len(set(tags)) < len(tags) or "Points" not in tags:
        return False
    for part in piece:
        names = sorted(array.get("Name", "") for array in part)
        if any(array.tag not in _ARRAYS for array in part):
            return False
        if part.tag == "Points" and len(names) != 1 or part.tag in _XML_CELLS and names != ["connectivity", "offsets"]:
            return False
    return True


def _counts_fit(element: ElementTree.Element, n_bytes: int) -> bool:
    """Whether all numbers of something are such that the file could hold that many."""
    for name, value in element.attrib.items():
        if name.startswith("NumberOf"):
            most = _MOST_COMPONENTS if name == "NumberOfComponents" else n_bytes * _BEST_COMPRESSION
            if not re.fullmatch(r"\d{1,12}", value) or int(value) > most:
                return False
    return True


class _AppendedData:
    """The arrays of a .vtp file that follow its markup as they are or compressed block by block."""

    def __init__(self, content: bytes, start: int, root: ElementTree.Element):
        self._content, self._start = content, start
        self._compressor = root.get("compressor", "")
        self._order = ">" if root.get("byte_order") == "BigEndian" else "<"
        self._number = "Q" if root.get("header_type") == "UInt64" else "I"

    def array_is_whole(self, offset: int) -> bool:
        """Whether an array ends within the file."""
        try:
            return self._blocks(offset)[1] <= len(self._content)
        except struct.error:
            return False

    def cells_are_sound(self, count: int, offsets: ElementTree.Element, connectivity: ElementTree.Element) -> bool:
        """Whether there are so many cells, which end where their list of corners does; True where this cannot be
        known here.

        VTK makes room for as many corners as the last of the offsets says.
        """
        if self._compressor not in ("", "vtkZLibDataCompressor"):
            return True
        try:
            ends = np.frombuffer(self._array(int(offsets.get("offset"))), self._dtype(offsets))
            n_bytes = self._blocks(int(connectivity.get("offset")))[2]
        except (struct.error, zlib.error, ValueError):
            return False
        if len(ends) != count or (np.diff(ends, prepend=0) < 0).any():
            return False
        return (int(ends[-1]) if count else 0) * self._dtype(connectivity).itemsize == n_bytes

    def _blocks(self, offset: int) -> tuple[list[tuple[int, int]], int, int]:
        """Where the blocks of an array begin and how long they are, where the last one ends, and the length of all
        when unpacked.

        Raises:
            struct.error: the file has no such array.
        """
        at, step = self._start + offset, struct.calcsize(self._order + self._number)
        if not self._compressor:
            (n_bytes,) = struct.unpack_from(self._order + self._number, self._content, at)
            return [(at + step, n_bytes)], at + step + n_bytes, n_bytes
        count, block_bytes, last_bytes = struct.unpack_from(f"{self._order}3{self._number}", self._content, at)
        if count > len(self._content) or max(block_bytes, last_bytes) > len(self._content) * _BEST_COMPRESSION:
            raise struct.error
        lengths = struct.unpack_from(f"{self._order}{count}{self._number}", self._content, at + 3 * step)
        ends = np.cumsum([at + (3 + count) * step, *lengths]).tolist()
        unpacked = count * block_bytes - (block_bytes - last_bytes if count and last_bytes else 0)
        return list(zip(ends[:-1], lengths, strict=True)), ends[-1], unpacked

    def _array(self, offset: int) -> bytes:
        parts = [self._content[start : start + length] for start, length in self._blocks(offset)[0]]
        return b"".join(map(zlib.decompress, parts) if self._compressor else parts)

    def _dtype(self, array: ElementTree.Element) -> np.dtype:
        """Of an array of whole numbers."""
        return np.dtype(array.get("type", "").lower()).newbyteorder(self._order)
