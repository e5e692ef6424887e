"""What people decided about the organs of a batch: the column ``decision`` of its results table.

The table is the only place. A batch that writes it again keeps a decision as long as the result that it is about stays.
Nothing in here needs the engine's packages, so that a program's window can use it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..core.errors import BadInputError
from ..io.atomic import atomic_path

TABLE = "results.csv"
COLUMN = "decision"
ACCEPTED, REJECTED, OPEN = "accepted", "rejected", ""
# A row with the same values of these is about the same result.
_SAME = ("case", "label", "organ_status", "seconds", "volume_after_ml", "added_ml", "removed_ml", "template_sha256")


def read_rows(folder: Path) -> list[dict[str, str]]:
    """The rows of a batch's table, in its order; none where there is no table yet.

    Raises:
        BadInputError: the table cannot be read.
    """
    path = Path(folder) / TABLE
    if not path.is_file():
        return []
    try:
        with open(path, newline="", encoding="utf-8-sig") as stream:
            return [{key: value or "" for key, value in row.items() if key} for row in csv.DictReader(stream)]
    except (OSError, ValueError, csv.Error) as error:
        raise BadInputError(
            "{input} cannot be read as a table ({reason})",
            "run the batch again to write it anew",
            "batch.table_damaged",
            input=path,
            reason=error,
        ) from error


def decide(folder: Path, case: str, label: str, decision: str) -> list[dict[str, str]]:
    """Keep a decision in the table, and in the Parquet table beside it; returns the rows.

    Args:
        folder: of the batch's results.
        case: name of the case.
        label: of the organ, as the table has it.
        decision: ``accepted``, ``rejected`` or "" to take a decision back.

    Raises:
        BadInputError: there is no such row, or the table cannot be read or written.
    """
    rows = read_rows(folder)
    places = [index for index, row in enumerate(rows) if (row.get("case"), row.get("label")) == (case, label)]
    if decision not in (ACCEPTED, REJECTED, OPEN) or not places:
        raise BadInputError(
            "{input} has no organ '{label}' of the case '{case}' that can be {decision}",
            "choose a row of the table",
            "batch.no_row",
            input=Path(folder) / TABLE,
            label=label,
            case=case,
            decision=decision or "open",
        )
    for index in places:
        rows[index][COLUMN] = decision
    write_rows(folder, rows, list(rows[0]) if COLUMN in rows[0] else [*rows[0], COLUMN])
    _write_parquet(Path(folder) / "results.parquet", places, decision)
    return rows


def write_rows(folder: Path, rows: Iterable[Mapping], columns: Iterable[str]) -> None:
    """The table as CSV, by way of a temporary file.

    Raises:
        BadInputError: it cannot be written.
    """
    with atomic_path(Path(folder) / TABLE) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(columns))
        writer.writeheader()
        writer.writerows(rows)


def with_decisions(folder: Path, rows: Iterable[dict]) -> list[dict]:
    """New rows with the decisions that the table in a folder has about the same results."""
    try:
        known = {_identity(row): row[COLUMN] for row in read_rows(folder) if row.get(COLUMN)}
    except BadInputError:
        known = {}  # a table that nobody can read is written anew
    return [{**row, COLUMN: known.get(_identity(row)) or None} for row in rows]


def _identity(row: Mapping) -> tuple[str, ...]:
    return tuple("" if row.get(name) is None else str(row[name]) for name in _SAME)


def _write_parquet(path: Path, places: list[int], decision: str) -> None:
    if not path.is_file():
        return
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        return  # the next batch writes it
    table = parquet.read_table(path)
    if COLUMN not in table.column_names or table.num_rows <= max(places):
        return
    values = table.column(COLUMN).to_pylist()
    for place in places:
        values[place] = decision or None
    index = table.column_names.index(COLUMN)
    with atomic_path(path) as temporary:
        parquet.write_table(table.set_column(index, COLUMN, pa.array(values, pa.string())), temporary)
