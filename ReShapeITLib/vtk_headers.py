"""What VTK's readers of .vtk and .vtp files do not look at: numbers that make them write over their own memory."""

from __future__ import annotations

import re
import struct
import zlib
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

# Legacy files
_HEADER = re.compile(
    rb"# vtk DataFile Version (\d)\.(\d)\s*\n[^\n]*\n\s*(ASCII|BINARY)\s*\n\s*DATASET\s+POLYDATA[ \t\r]*\n",
    re.IGNORECASE,
)
_WORD, _LINE = re.compile(rb"\s*(\S{1,1000})"), re.compile(rb"([^\n]*)\n?")
_COUNT, _NUMBER = re.compile(rb"\d{1,10}"), re.compile(rb"[-+.\w]{1,50}")
_BYTES = {  # of one value; several where systems differ
    b"char": (1,), b"signed_char": (1,), b"unsigned_char": (1,), b"short": (2,), b"unsigned_short": (2,), b"int": (4,),
    b"unsigned_int": (4,), b"long": (8, 4), b"unsigned_long": (8, 4), b"vtkidtype": (8, 4), b"vtktypeint64": (8,),
    b"vtktypeuint64": (8,), b"float": (4,), b"double": (8,),
}  # fmt: skip
_CELLS = (b"vertices", b"lines", b"polygons", b"triangle_strips")
_COMPONENTS = {b"normals": 3, b"vectors": 3, b"tensors": 9, b"tensors6": 6, b"global_ids": 1, b"pedigree_ids": 1}

# XML files
_XML_TYPES = {"String", "Float32", "Float64", *(f"{sign}Int{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64))}
_XML_CELLS = {"Verts", "Lines", "Strips", "Polys"}
_XML_PARTS = {"PointData", "CellData", "Points", "FieldData", *_XML_CELLS}
_BEST_COMPRESSION = 1100  # zlib makes nothing smaller than by this factor
_MOST_COMPONENTS = 100


def legacy_file_is_sound(path: Path) -> bool:
    """True where a .vtk file of polygons has, to its end, what it announces, of types that VTK knows.

    The arrays by which cells are kept since version 5.1 are checked by ``mesh.TriangleSurface.from_vtk``.
    """
    content = path.read_bytes()
    header = _HEADER.match(content)
    if not header:
        return False
    walk = _LegacyWalk(content, header.end(), (int(header[1]), int(header[2])), header[3].upper() == b"BINARY")
    try:
        walk.to_the_end()
    except (KeyError, ValueError):
        return False
    return True


class _LegacyWalk:
    """Goes through the parts of a legacy file; KeyError or ValueError where something is not as announced."""

    def __init__(self, content: bytes, at: int, version: tuple[int, int], binary: bool):
        self._content, self._at, self._version, self._binary = content, at, version, binary
        self._tuples = 0  # of the point or cell data

    def to_the_end(self) -> None:
        while _WORD.match(self._content, self._at):
            keyword = self._word().lower()
            if keyword == b"points":
                count = self._count()
                self._values(3 * count, self._word())
            elif keyword in _CELLS:
                self._cells(self._count(), self._count())
            elif keyword in (b"point_data", b"cell_data"):
                self._tuples = self._count()
            elif keyword == b"field":
                self._word()
                for _ in range(self._count()):
                    self._array()
            else:
                self._attribute(keyword)

    def _attribute(self, keyword: bytes) -> None:
        if keyword == b"metadata":
            self._metadata()
            return
        self._word()
        if keyword == b"scalars":
            kind, components = self._word(), self._line().strip() or b"1"
            if self._word().lower() != b"lookup_table" or not _COUNT.fullmatch(components):
                raise ValueError
            self._word()
            self._values(self._tuples * int(components), kind)
        elif keyword == b"color_scalars":
            components = self._count()
            self._values(self._tuples * components, b"unsigned_char")
        elif keyword == b"lookup_table":
            self._values(4 * self._count(), b"unsigned_char")
        elif keyword == b"texture_coordinates":
            components = self._count()
            self._values(self._tuples * components, self._word())
        else:
            self._values(self._tuples * _COMPONENTS[keyword], self._word())

    def _array(self) -> None:
        """One of a field, with what VTK knows about it."""
        if self._word().lower() == b"metadata":
            self._metadata()
            self._word()
        components, tuples = self._count(), self._count()
        self._values(components * tuples, self._word())

    def _metadata(self) -> None:
        self._line()
        while self._at < len(self._content) and self._line().strip():
            pass

    def _cells(self, n_cells: int, n_numbers: int) -> None:
        if self._version >= (5, 1):
            for name, count in ((b"offsets", n_cells), (b"connectivity", n_numbers)):
                if self._word().lower() != name:
                    raise ValueError
                self._values(count, self._word())
            return
        numbers = self._values(n_numbers, b"int")
        place = 0
        for _ in range(n_cells):
            if place >= n_numbers or numbers[place] < 0:
                raise ValueError
            place += 1 + int(numbers[place])
        if place != n_numbers:
            raise ValueError

    def _values(self, count: int, kind: bytes) -> np.ndarray | None:
        """Go past so many values; those of plain integers come back."""
        sizes = _BYTES[kind.lower()]
        if count > len(self._content):
            raise ValueError
        if not self._binary:
            words = [self._word() for _ in range(count)]
            if not all(map(_NUMBER.fullmatch, words)):
                raise ValueError
            return np.array(words).astype(np.int64) if kind == b"int" else None
        if self._line().strip():
            raise ValueError
        for size in sizes:
            end = self._at + count * size
            if end == len(self._content) or self._content[end : end + 1] == b"\n":
                start, self._at = self._at, end
                return np.frombuffer(self._content, ">i4", count, start) if kind == b"int" else None
        raise ValueError

    def _word(self) -> bytes:
        match = _WORD.match(self._content, self._at)
        if not match:
            raise ValueError
        self._at = match.end()
        return match[1]

    def _count(self) -> int:
        word = self._word()
        if not _COUNT.fullmatch(word):
            raise ValueError
        return int(word)

    def _line(self) -> bytes:
        match = _LINE.match(self._content, self._at)
        self._at = match.end()
        return match[1]


def xml_file_is_sound(path: Path) -> bool:
    """True where a .vtp file has all arrays that VTK asks it for, of types that it knows, and no count, offset or block
    is larger than the file can hold."""
    content = path.read_bytes()
    markup, appended, data = content.partition(b"<AppendedData")
    if re.search(rb"<!(?!--)", markup):  # declarations can make a small file a large one
        return False
    try:
        root = ElementTree.fromstring(markup + b"</VTKFile>" if appended else markup)  # noqa: S314 (no declarations)
    except ElementTree.ParseError:
        return False
    opening = re.match(rb"[^<>]*>\s*_", data)  # VTK loses its place where anything else comes first
    if appended and not opening:
        return False
    start = len(content) - len(data) + (opening.end() if opening else 0)
    raw = b'encoding="raw"' in data[:200]
    order = ">" if root.get("byte_order") == "BigEndian" else "<"
    arrays = _AppendedData(content, start, root.get("header_type", "UInt32"), root.get("compressor", ""), order)
    if root.tag != "VTKFile" or root.get("type") != "PolyData" or [child.tag for child in root] != ["PolyData"]:
        return False
    pieces = root[0].findall("Piece")
    if len(pieces) + len(root[0].findall("FieldData")) != len(root[0]) or not all(map(_piece_is_whole, pieces)):
        return False
    for element in root.iter():
        if not _counts_fit(element, len(content)):
            return False
        if element.tag not in ("DataArray", "Array"):
            continue
        if element.get("type") not in _XML_TYPES or element.get("format") not in ("ascii", "binary", "appended"):
            return False
        if element.get("format") == "appended":
            offset = element.get("offset", "")
            if not appended or not re.fullmatch(r"\d{1,12}", offset) or int(offset) > len(content):
                return False
            if raw and not arrays.array_is_whole(int(offset)):
                return False
    for piece, cells in ((owner, part) for owner in pieces for part in owner if part.tag in _XML_CELLS):
        by_name = {array.get("Name"): array for array in cells}
        appended = raw and all(array.get("format") == "appended" for array in cells)
        if not all("Int" in array.get("type") for array in cells):
            return False
        count = int(piece.get(f"NumberOf{cells.tag}", "0"))
        if appended and not arrays.cells_are_sound(count, by_name["offsets"], by_name["connectivity"]):
            return False
    return True


def _piece_is_whole(piece: ElementTree.Element) -> bool:
    """Whether a piece has nothing but parts that VTK knows, each with its arrays."""
    tags = [part.tag for part in piece]
    if not set(tags) <= _XML_PARTS or len(set(tags)) < len(tags) or "Points" not in tags:
        return False
    for part in piece:
        names = sorted(array.get("Name", "") for array in part)
        if any(array.tag not in ("DataArray", "Array") for array in part):
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

    def __init__(self, content: bytes, start: int, header_type: str, compressor: str, order: str):
        self._content, self._start, self._compressor, self._order = content, start, compressor, order
        self._number = "Q" if header_type == "UInt64" else "I"

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
