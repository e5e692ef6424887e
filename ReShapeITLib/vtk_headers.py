"""What VTK's readers of .vtk and .vtp files do not look at: numbers that make them write over their own memory."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import numpy as np

# Legacy files
_VERSION = re.compile(rb"# vtk DataFile Version (\d)\.(\d)\s*\n[^\n]*\n\s*(ASCII|BINARY)\s*\n", re.IGNORECASE)
_CELLS = re.compile(rb"^(?:VERTICES|LINES|POLYGONS|TRIANGLE_STRIPS)\s+(\d{1,10})\s+(\d{1,10})[ \t\r]*\n", re.MULTILINE)
_ANY_CELLS = re.compile(rb"^\s*(?:VERTICES|LINES|POLYGONS|TRIANGLE_STRIPS)\b", re.MULTILINE | re.IGNORECASE)
_TYPES = rb"(?:bit|\w*char|\w*short|\w*int|\w*long|float|double|vtkidtype|\w*int64|string)"
_COUNT = re.compile(rb"^\s*(?:POINTS|POINT_DATA|CELL_DATA)\b([^\n]*)", re.MULTILINE | re.IGNORECASE)
_FIELD_ARRAY = re.compile(rb"^\S+ (\S+) (\S+) " + _TYPES + rb"[ \t\r]*$", re.MULTILINE | re.IGNORECASE)

# XML files
_ATTRIBUTE = re.compile(rb"""\b(NumberOf\w+|offset|type)\s*=\s*["']([^"'<>]*)["']""")
_XML_TYPES = {
    b"PolyData", b"String", b"Float32", b"Float64",
    *(f"{sign}Int{bits}".encode() for sign in ("", "U") for bits in (8, 16, 32, 64)),
}  # fmt: skip
_BLOCK_BYTES = re.compile(rb'header_type\s*=\s*"UInt64"')
_BEST_COMPRESSION = 1100  # zlib makes nothing smaller than by this factor
_MOST_COMPONENTS = 100


def legacy_file_is_sound(path: Path) -> bool:
    """True where the version is one, nothing is announced as larger than the file, and the cells of a version before
    5.1 are as many and as long as announced.

    Later versions keep cells as two arrays, which ``mesh.TriangleSurface.from_vtk`` checks.
    """
    content = path.read_bytes()
    header = _VERSION.match(content)
    if not header:
        return False
    version, binary = (int(header[1]), int(header[2])), header[3].upper() == b"BINARY"
    found = list(_CELLS.finditer(content, header.end() - 1))
    if len(found) != len(_ANY_CELLS.findall(content, header.end() - 1)):
        return False
    if not all(_fits(match[1], match[2], len(content)) for match in _FIELD_ARRAY.finditer(content, header.end() - 1)):
        return False
    counts = [match[1].split() for match in _COUNT.finditer(content, header.end() - 1)]
    if not all(words and _fits(b"1", words[0], len(content)) for words in counts):
        return False
    if version >= (5, 1):
        return all(max(int(match[1]), int(match[2])) <= len(content) for match in found)
    return all(_list_is_sound(content, match.end(), int(match[1]), int(match[2]), binary) for match in found)


def xml_file_is_sound(path: Path) -> bool:
    """True where no count, offset or block of a .vtp file is larger than the file can hold, and no type is unknown."""
    content = path.read_bytes()
    markup, _, data = content.partition(b"<AppendedData")
    start = len(content) - len(data) + data.find(b"_") + 1
    raw, compressed = b'encoding="raw"' in data[:200], b"compressor=" in markup[:1000]
    size = "<Q" if _BLOCK_BYTES.search(markup[:1000]) else "<I"
    for name, value in _ATTRIBUTE.findall(markup):
        if name == b"type":
            if value not in _XML_TYPES:
                return False
            continue
        if not re.fullmatch(rb"\d{1,12}", value):
            return False
        most = _MOST_COMPONENTS if name == b"NumberOfComponents" else len(content) * _BEST_COMPRESSION
        if int(value) > most:
            return False
        if name == b"offset" and raw and not _block_is_sound(content, start + int(value), size, compressed):
            return False
    return True


def _block_is_sound(content: bytes, start: int, size: str, compressed: bool) -> bool:
    """Whether an appended array, whose numbers have that size, ends within the file."""
    step = struct.calcsize(size)
    if start + (3 if compressed else 1) * step > len(content):
        return False
    if not compressed:
        return start + step + struct.unpack_from(size, content, start)[0] <= len(content)
    blocks, block_bytes, last_bytes = struct.unpack_from("<3" + size[1], content, start)
    first = start + (3 + blocks) * step
    if first > len(content) or max(block_bytes, last_bytes) > len(content) * _BEST_COMPRESSION:
        return False
    return first + sum(struct.unpack_from(f"<{blocks}{size[1]}", content, start + 3 * step)) <= len(content)


def _fits(components: bytes, tuples: bytes, n_bytes: int) -> bool:
    """Whether an array of so many numbers, each a byte at least, has room; both as written in the file."""
    if not all(re.fullmatch(rb"\d{1,10}", number) for number in (components, tuples)):
        return False
    return int(components) * int(tuples) <= n_bytes


def _list_is_sound(content: bytes, start: int, n_cells: int, n_numbers: int, binary: bool) -> bool:
    """Whether ``n_cells`` cells, each its length and its points, take exactly ``n_numbers`` numbers."""
    if binary:
        if len(content) < start + 4 * n_numbers:
            return False
        numbers = np.frombuffer(content, ">i4", n_numbers, start)
    else:
        words = content[start:].split(None, n_numbers)[:n_numbers]
        if len(words) < n_numbers or not all(re.fullmatch(rb"-?\d{1,9}", word) for word in words):
            return False
        numbers = np.array(words, dtype=np.int64)
    place, cells = 0, 0
    while place < n_numbers and numbers[place] >= 0:
        place += 1 + int(numbers[place])
        cells += 1
    return place == n_numbers and cells == n_cells
