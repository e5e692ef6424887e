"""What VTK's reader of legacy .vtk files does not look at, and writes over its own memory where it is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

_VERSION = re.compile(rb"# vtk DataFile Version (\d)\.(\d)\s*\n[^\n]*\n\s*(ASCII|BINARY)\s*\n", re.IGNORECASE)
_CELLS = re.compile(rb"^(?:VERTICES|LINES|POLYGONS|TRIANGLE_STRIPS)\s+(\d{1,10})\s+(\d{1,10})[ \t\r]*\n", re.MULTILINE)
_ANY_CELLS = re.compile(rb"^\s*(?:VERTICES|LINES|POLYGONS|TRIANGLE_STRIPS)\b", re.MULTILINE | re.IGNORECASE)


def cells_are_sound(path: Path) -> bool:
    """True where the version is one, and the cells of a version before 5.1 are as many and as long as announced.

    Later versions keep cells as two arrays, which ``mesh.TriangleSurface.from_vtk`` checks.
    """
    content = path.read_bytes()
    header = _VERSION.match(content)
    if not header:
        return False
    version, binary = (int(header[1]), int(header[2])), header[3].upper() == b"BINARY"
    found = list(_CELLS.finditer(content, header.end() - 1))
    if version >= (5, 1):
        return True
    if len(found) != len(_ANY_CELLS.findall(content, header.end() - 1)):
        return False
    return all(_list_is_sound(content, match.end(), int(match[1]), int(match[2]), binary) for match in found)


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
