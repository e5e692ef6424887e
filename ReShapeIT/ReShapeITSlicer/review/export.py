"""The table of a review for other programs: rows in the user's words, a CSV file, a table node in the scene.

Usage, from the Python console::

    from ReShapeITSlicer.review.export import addTableNode, writeTable
    writeTable("review.csv", task.summary())
    addTableNode(slicer.mrmlScene, task.summary())
"""

from __future__ import annotations

import csv
import os
from pathlib import Path

import vtk

from ..errors import RefinementError

# What the image said, by the word of the report.
IMAGE_WORDS = {
    "": "not asked",
    "used": "used",
    "unchanged": "agrees",
    "uncertain": "unsure",
    "no_model": "no network",
    "modality": "no CT",
    "sparse": "not asked",
}
STATES = {"pending": "to decide", "accepted": "accepted", "rejected": "rejected"}
# Column, value of a SummaryRow, digits after the point (None: text).
COLUMNS = (
    ("Segment", lambda row: row.name, None),
    ("Organ", lambda row: row.organ, None),
    ("Volume before (mL)", lambda row: row.volumeBeforeMl, 3),
    ("Volume after (mL)", lambda row: row.volumeAfterMl, 3),
    ("Largest change (mm)", lambda row: row.largestMoveMm, 3),
    ("Mean change (mm)", lambda row: row.meanMoveMm, 3),
    ("Dice to the input", lambda row: row.dscToInput, 4),
    ("Plausible", lambda row: "yes" if row.isPlausible else "look closely", None),
    ("Plausibility", lambda row: row.plausibility, None),
    ("Image", lambda row: IMAGE_WORDS.get(row.image, row.image), None),
    ("State", lambda row: STATES[row.state], None),
    ("Device", lambda row: row.device, None),
    ("Licence of the template", lambda row: row.licence, None),
)
SUGGESTION_COLUMNS = (
    ("Number", lambda one: one.number),
    ("Change", lambda one: one.kindText()),
    ("Volume (mL)", lambda one: round(one.volumeMl, 3)),
    ("Probability", lambda one: round(one.probability, 4)),
    ("Evidence", lambda one: one.evidenceText()),
    ("Taken", lambda one: "yes" if one.taken else "no"),
    ("Decided", lambda one: "by hand" if one.byHand or one.isClicked else "by the engine"),
    ("R (mm)", lambda one: round(one.centreRas[0], 2)),
    ("A (mm)", lambda one: round(one.centreRas[1], 2)),
    ("S (mm)", lambda one: round(one.centreRas[2], 2)),
)
NOTHING = "There is no review to export; refine first."


def summaryTable(rows) -> tuple[list[str], list[list]]:
    """Header and rows of a review.

    :param rows: SummaryRow objects, as of ``task.summary()``.
    :returns: column names with units, and for each row texts and numbers (None: not known).
    """
    table = [[_value(read(row), digits) for _name, read, digits in COLUMNS] for row in rows]
    return [name for name, _read, _digits in COLUMNS], table


def writeTable(path, rows) -> Path:
    """Write a review as CSV (UTF-8, decimal points, comma-separated); the file is complete or as it was.

    :param path: of the file; ``.csv`` is added where it has no suffix.
    :param rows: SummaryRow objects.
    :returns: the file's path.
    :raises RefinementError: there are no rows, or the file cannot be written.
    """
    header, table = _filled(rows)
    path = Path(path) if Path(path).suffix else Path(f"{path}.csv")
    _write(path, [header, *table])
    return path


def writeSuggestions(path, suggestions, names) -> Path:
    """Write what the engine found and what was decided about it, beside the table of a review.

    :param path: of that table; the file's name gets ``_suggestions``.
    :param suggestions: Suggestion objects, as of ``task.suggestions()``.
    :param names: of the segments by id.
    :returns: the file's path.
    :raises RefinementError: the file cannot be written.
    """
    path = Path(path)
    path = path.with_name(f"{path.stem}_suggestions.csv")
    header = ["Segment", *(name for name, _read in SUGGESTION_COLUMNS)]
    rows = [[names.get(one.segmentId, one.segmentId), *(r(one) for _n, r in SUGGESTION_COLUMNS)] for one in suggestions]
    _write(path, [header, *rows])
    return path


def _write(path: Path, rows: list[list]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        reason = error.strerror or error
        raise RefinementError(f"The table cannot be written to {path} ({reason}); choose another file.") from error


def addTableNode(scene, rows, name: str = "ReShapeIT review"):
    """Add a review as a vtkMRMLTableNode to a scene; unknown numbers are not-a-number.

    :param scene: vtkMRMLScene.
    :param rows: SummaryRow objects.
    :param name: of the node; a number is added where there is one of that name.
    :returns: the node.
    :raises RefinementError: there are no rows.
    """
    header, table = _filled(rows)
    node = scene.AddNewNodeByClass("vtkMRMLTableNode", scene.GenerateUniqueName(name))
    for index, (title, (_name, _read, digits)) in enumerate(zip(header, COLUMNS, strict=True)):
        column = vtk.vtkStringArray() if digits is None else vtk.vtkDoubleArray()
        column.SetName(title)
        for row in table:
            value = row[index]
            column.InsertNextValue(("" if digits is None else float("nan")) if value is None else value)
        node.AddColumn(column)
    node.SetUseColumnNameAsColumnHeader(True)
    return node


def _filled(rows) -> tuple[list[str], list[list]]:
    header, table = summaryTable(rows)
    if not table:
        raise RefinementError(NOTHING)
    return header, table


def _value(value, digits: int | None):
    if value is None or digits is None:
        return value
    return round(float(value), digits)
