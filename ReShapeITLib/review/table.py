"""Cases from a table: one that a batch wrote, or one that names files."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from os.path import isfile
from pathlib import Path

from ..core.errors import BadInputError
from ..io.atomic import file_suffix
from .cases import ReviewCase, cases_of_summary, existing_file, read_summary, surface_beside

# What is taken from a table, each with the names that its column may have.
COLUMNS = {
    "case": ("case", "name", "id"),
    "before": ("input", "before"),
    "after": ("output", "after", "refined", "result"),
    "summary": ("report", "summary", "json"),
    "surface": ("surface", "mesh"),
    "image": ("image",),
    "truth": ("truth", "reference"),
    "label": ("label",),
    "organ": ("organ",),
    "status": ("organ_status", "status", "state"),
    "error": ("error", "reason", "message"),
    "decision": ("decision",),
}
# What files, or numbers, are made of; no system has longer file names.
_SHORT = ("case", "before", "after", "surface", "summary", "image", "truth", "label")
_LONGEST_CELL = 1000
_GOOD_STATES = ("", "done", "ok", "success", "finished", "refined")
# Columns of a batch that say what a summary says.
_WORDS = ("organ", "template", "template_sha256", "licence", "restoration", "device")
_NUMBERS = (
    "volume_before_ml",
    "volume_after_ml",
    "added_ml",
    "removed_ml",
    "dsc_to_input",
    "islands_removed",
    "holes_filled",
)
_PLAUSIBILITY_NUMBERS = ("volume_z", "alignment_z", "shape_distance")


def cases_of_table(path: Path) -> list[ReviewCase]:
    """A case for each row; what is wrong with a row becomes its ``failure``.

    Raises:
        BadInputError: the table cannot be read or names no files.
    """
    rows = _rows(path)
    if rows and not any(set(COLUMNS[key]) & set(rows[0]) for key in ("before", "summary")):
        raise BadInputError(
            "{input} names no files", "give the columns 'input' and 'output', or 'report'", "review.table", input=path
        )
    cells = [{key: _cell(row, names) for key, names in COLUMNS.items()} for row in rows]
    if any(len(one[key]) > _LONGEST_CELL for one in cells for key in _SHORT):
        raise BadInputError(
            "{input} has names or labels of more than {most} characters",
            "export it again",
            "review.cells",
            input=path,
            most=_LONGEST_CELL,
        )
    names = [one["case"] for one in cells]
    several = {name for name in names if name and names.count(name) > 1}
    cases = []
    for number, (row, one) in enumerate(zip(rows, cells, strict=True), start=1):
        name = one["case"] or (Path(one["before"]).name if one["before"] else f"row {number}")
        if name in several:  # the organs of one case
            name += f" · {one['organ'] or one['label'] or number}"
        try:
            cases += _of_row(name, one, _organ(row), path.parent, one["case"] in several)
        except BadInputError as error:
            cases.append(ReviewCase(name, failure=str(error)))
    return cases


def _of_row(name: str, cells: dict[str, str], organ: dict, folder: Path, several: bool) -> list[ReviewCase]:
    named = ("before", "after", "surface", "image", "truth")
    files = {key: existing_file(cells[key], folder) for key in named if cells[key]}
    if cells["error"] or cells["status"].lower() not in _GOOD_STATES:
        failure = ": ".join(text for text in (cells["status"], cells["error"]) if text)
        return [ReviewCase(name, before=files.get("before"), failure=failure)]
    if cells["summary"]:
        summary = existing_file(cells["summary"], folder)
        return cases_of_summary(summary, read_summary(summary), name, **files)
    if "before" not in files or "after" not in files:
        raise BadInputError(
            "{name} has neither a summary nor both an input and an output file",
            "complete its row",
            "review.row",
            name=name,
        )
    label = cells["label"] or None
    label = int(label) if label and label.isdecimal() else label
    surface = files.pop("surface", None) or surface_beside(files["after"], label, several)
    fuller, run = _batch_summary(folder, cells["case"], label)
    if isinstance(label, str) and files["before"].name.startswith(f"{label}."):
        label = None  # a mask of its own
    decision = cells["decision"] if cells["decision"] in ("accepted", "rejected") else ""
    return [ReviewCase(name, label, organ=fuller or organ, run=run, surface=surface, decision=decision, **files)]


def _batch_summary(folder: Path, case: str, label) -> tuple[dict, dict]:
    """The organ's entry, and the run, in the summary that a batch wrote of a case; empty where it wrote none."""
    path = folder / "reports" / f"{case}.json"
    if not case or not isfile(path):
        return {}, {}
    organs = cases_of_summary(path, read_summary(path), case)
    found = [one for one in organs if str(one.organ.get("label")) == str(label)]
    return (dict(found[0].organ), dict(found[0].run)) if found else ({}, {})


def _rows(path: Path) -> list[dict]:
    try:
        if file_suffix(path) == ".parquet":
            from pyarrow import ArrowException, parquet

            try:
                return parquet.read_table(path).to_pylist()
            except ArrowException as error:
                raise ValueError(str(error).splitlines()[0]) from error
        with open(path, newline="", encoding="utf-8-sig") as stream:
            return list(csv.DictReader(stream))
    except ImportError as error:
        raise BadInputError(
            "{input} needs the Python package {package}",
            "run: pip install 'ReShapeITLib[batch]', or give the CSV table beside it",
            "review.parquet",
            input=path,
            package="pyarrow",
        ) from error
    except (OSError, ValueError, csv.Error) as error:
        raise BadInputError(
            "{input} cannot be read as a table ({reason})",
            "export it again",
            "review.table_damaged",
            input=path,
            reason=error,
        ) from error


def _cell(row: Mapping, names: tuple[str, ...]) -> str:
    """The first of the named columns that has something in it, as text."""
    texts = (str(row[name]).strip() for name in names if row.get(name) is not None)
    return next((text for text in texts if text), "")


def _organ(row: Mapping) -> dict:
    """What a row of a batch says about its organ, as a summary would."""
    plausibility = {
        **{name: _number(row, name) for name in _PLAUSIBILITY_NUMBERS},
        "closest_organ": _cell(row, ("closest_organ",)),
        "problems": [text for text in _cell(row, ("problems",)).split("; ") if text],
    }
    words = {name: _cell(row, (name,)) for name in _WORDS}
    return words | {name: _number(row, name) for name in _NUMBERS} | {"plausibility": plausibility}


def _number(row: Mapping, name: str) -> float | None:
    try:
        return float(_cell(row, (name,)))
    except ValueError:
        return None
