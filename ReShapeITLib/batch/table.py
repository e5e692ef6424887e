"""The records of a batch as one table: ``results.csv`` and ``results.parquet``, a row for each organ of each case."""

from __future__ import annotations

from collections.abc import Iterable
from glob import escape
from pathlib import Path

from ..io.atomic import atomic_path
from ..job.report import REFINED
from .cases import BatchCase
from .decisions import COLUMN, with_decisions, write_rows
from .records import read_record

_OF_ORGANS = (
    "label",
    "organ",
    "organ_status",
    "reason",
    "template",
    "template_sha256",
    "licence",
    "non_commercial",
    "restoration",
    "device",
    "volume_before_ml",
    "volume_after_ml",
    "added_ml",
    "removed_ml",
    "dsc_to_input",
    "islands_removed",
    "holes_filled",
)
_OF_PLAUSIBILITY = ("volume_z", "alignment_z", "shape_distance", "closest_organ")
COLUMNS = (
    "case",
    "status",
    "message",
    "input",
    "output",
    "seconds",
    *_OF_ORGANS,
    "change_mean_mm",
    "change_max_mm",
    *_OF_PLAUSIBILITY,
    "problems",
    "image",
    COLUMN,
)


def rows_of(cases: Iterable[BatchCase]) -> list[dict]:
    """Rows in the order of the cases; a case that was not reached has the status ``open``.

    ``status`` and ``message`` are the case's. ``organ_status`` (refined, absent, implausible or failed) and ``reason``
    are the organ's; empty where nobody knows which organs the case has.
    """
    rows = []
    for case in cases:
        record = read_record(case) or {"status": "open", "message": ""}
        about = {
            "case": case.name,
            "status": record["status"],
            "message": record["message"],
            "input": str(case.input),
            "output": str(case.output) if record.get("organs") else None,
            "seconds": record.get("seconds"),
            "image": case.options.image or None,
        }
        organs = [{**about, **_organ_row(organ)} for organ in record.get("organs", ())]
        organs += [{**about, **_row_of_another(organ)} for organ in record.get("not_refined", ())]
        rows += [_of_its_mask(case, row) for row in organs] or [about]
    return [{column: row.get(column) for column in COLUMNS} for row in rows]


def _organ_row(organ: dict) -> dict:
    row = {name: organ.get(name) for name in _OF_ORGANS}
    row |= {"label": str(row["label"]), "organ_status": organ.get("status", REFINED)}
    change, plausibility = organ.get("signed_change_mm"), organ.get("plausibility") or {}
    if change:
        row |= {"change_mean_mm": change["mean_abs"], "change_max_mm": max(change["max_out"], change["max_in"])}
    row |= {name: plausibility.get(name) for name in _OF_PLAUSIBILITY}
    return row | {"problems": "; ".join(plausibility.get("problems") or ())}


def _row_of_another(organ: dict) -> dict:
    """Of one that stays as it is."""
    about = {"label": str(organ["label"]), "organ": organ["organ"], "organ_status": organ["status"]}
    return about | {"reason": organ["reason"]}


def _of_its_mask(case: BatchCase, row: dict) -> dict:
    """The row with the organ's own files, where the case is a folder of masks."""
    mask = next(iter(sorted(case.input.glob(f"{escape(row['label'])}.n*"))), None) if case.input.is_dir() else None
    if mask is None:
        return row
    return {**row, "input": str(mask), "output": row["output"] and str(case.output / mask.name)}


def write_tables(folder: Path, cases: Iterable[BatchCase]) -> None:
    """Both tables, each by way of a temporary file; decisions about results that are still there stay.

    Raises:
        BadInputError: a table cannot be written.
    """
    import pyarrow as pa
    from pyarrow import parquet

    rows = with_decisions(folder, rows_of(cases))
    write_rows(folder, rows, COLUMNS)
    with atomic_path(folder / "results.parquet") as temporary:
        parquet.write_table(pa.Table.from_pylist(rows, schema=_schema(pa)), temporary)


def _schema(pa):
    """The same columns of the same types whatever the rows hold."""
    kinds = dict.fromkeys(COLUMNS, pa.string())
    numbers = (
        "seconds",
        "volume_before_ml",
        "volume_after_ml",
        "added_ml",
        "removed_ml",
        "dsc_to_input",
        "change_mean_mm",
        "change_max_mm",
        "volume_z",
        "alignment_z",
        "shape_distance",
    )
    kinds |= dict.fromkeys(numbers, pa.float64())
    kinds |= {"islands_removed": pa.int64(), "holes_filled": pa.int64(), "non_commercial": pa.bool_()}
    return pa.schema(kinds.items())
