"""Points from files: Slicer's markups (.mrk.json) and tables of coordinates (.csv)."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np

from ...core.errors import BadInputError
from ...io.atomic import FilePath, require_file

_MOST_BYTES = 20_000_000
_TO_RAS = {"RAS": np.ones(3), "LPS": np.array([-1.0, -1.0, 1.0])}


def read_points(path: FilePath) -> np.ndarray:
    """(N, 3) RAS mm of the points in a file; curves and lines count by their control points.

    A ``.mrk.json`` says its coordinate system itself. A ``.csv`` holds r, a, s in mm; a first line may name the columns
    (``r,a,s`` or ``l,p,s``, beside others).

    Raises:
        BadInputError: the file is missing, of another format, damaged, or holds no point.
    """
    file = require_file(path, "points")
    suffix = "".join(file.suffixes[-2:]).lower()
    if suffix != ".mrk.json" and file.suffix.lower() != ".csv":
        words, hint = "{input} holds no points that can be read", "give a .mrk.json of Slicer or a .csv with r,a,s"
        raise BadInputError(words, hint, "markups.format", input=file)
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise ValueError("it is too large")
        points = _of_markups(file) if suffix == ".mrk.json" else _of_table(file)
        if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
            raise ValueError("not three finite numbers each")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        words, hint = "The points of {input} cannot be read ({reason})", "save them again"
        raise BadInputError(words, hint, "markups.unreadable", input=file, reason=reason) from error
    return points


def _of_markups(file: Path) -> np.ndarray:
    points: list[np.ndarray] = []
    for markup in json.loads(file.read_text(encoding="utf-8"))["markups"]:
        to_ras = _TO_RAS[str(markup.get("coordinateSystem", "LPS")).upper()]
        for point in markup.get("controlPoints") or ():
            if point.get("positionStatus", "defined") == "defined":
                points.append(np.asarray(point["position"], dtype=np.float64) * to_ras)
    if not points:
        raise ValueError("it holds no control points")
    return np.array(points)


def _of_table(file: Path) -> np.ndarray:
    text = file.read_text(encoding="utf-8-sig")
    rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines()) if any(row)]
    if not rows:
        raise ValueError("it is empty")
    columns, to_ras = [0, 1, 2], _TO_RAS["RAS"]
    if not _is_number(rows[0][0]) or not all(map(_is_number, rows[0][:3])):
        names = [name.lower() for name in rows.pop(0)]
        system = "LPS" if {"l", "p", "s"} <= set(names) else "RAS"
        columns, to_ras = [names.index(letter) for letter in system.lower()], _TO_RAS[system]
    if not rows:
        raise ValueError("it holds no points")
    points = np.array([[float(row[column]) for column in columns] for row in rows])
    return np.asarray(points * to_ras)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
