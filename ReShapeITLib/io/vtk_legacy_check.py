"""What VTK's reader of .vtk files does not look at: counts and types that make it write over its own memory."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

_HEADER = re.compile(
    rb"# vtk DataFile Version (\d)\.(\d)\s*\n[^\n]*\n\s*(ASCII|BINARY)\s*\n\s*DATASET\s+POLYDATA[ \t\r]*\n",
    re.IGNORECASE,
)
_WORD, _LINE = re.compile(rb"\s*(\S{1,1000})"), re.compile(rb"([^\n]*)\n?")
_COUNT, _NUMBER = re.compile(rb"\d{1,10}"), re.compile(rb"[-+.\w]{1,50}")
_BYTES = {  # of one value; several where systems differ
    b"char": (1,),
    b"signed_char": (1,),
    b"unsigned_char": (1,),
    b"short": (2,),
    b"unsigned_short": (2,),
    b"int": (4,),
    b"unsigned_int": (4,),
    b"long": (8, 4),
    b"unsigned_long": (8, 4),
    b"vtkidtype": (8, 4),
    b"vtktypeint64": (8,),
    b"vtktypeuint64": (8,),
    b"float": (4,),
    b"double": (8,),
}
_CELLS = (b"vertices", b"lines", b"polygons", b"triangle_strips")
_COMPONENTS = {b"normals": 3, b"vectors": 3, b"tensors": 9, b"tensors6": 6, b"global_ids": 1, b"pedigree_ids": 1}


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
