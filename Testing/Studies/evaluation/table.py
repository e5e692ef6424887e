"""The rows and their statistics as files: results.csv, results.parquet, statistics.csv and summary.md."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path

from ReShapeITLib.io.atomic import atomic_path

from .measure import METRIC_NAMES
from .statistics import LARGER_IS_BETTER, Statistic, statistics
from .study import INPUT

COLUMNS = ("patient", "case", "family", "variant", "method", *METRIC_NAMES, "seconds", "error")
# How people read a metric: name and factor.
SHOWN = {
    "cd": ("CD x 100", 100.0),
    "emd": ("EMD", 1.0),
    "dsc": ("DSC %", 100.0),
    "nsd": ("NSD %", 100.0),
    "hd95_mm": ("HD95 mm", 1.0),
    "assd_mm": ("ASSD mm", 1.0),
}


def write_tables(rows: list[dict], folder: Path, notice: Callable[[str], None]) -> str:
    """Write all tables; returns the text of summary.md.

    Args:
        rows: as ``run_study`` returns them.
        folder: for the files.
        notice: told where there is no Parquet file because its packages are missing.

    Raises:
        BadInputError: a file cannot be written.
    """
    found = statistics(rows)
    _write_csv(folder / "results.csv", COLUMNS, rows)
    _write_csv(folder / "statistics.csv", [f.name for f in fields(Statistic)], map(asdict, found))
    try:
        write_parquet(rows, folder / "results.parquet")
    except ImportError:
        notice("results.parquet is left out: it needs pandas and pyarrow, pip install 'ReShapeITLib[evaluate]'.")
    text = summary(found)
    with atomic_path(folder / "summary.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    return text


def write_parquet(rows: list[dict], path: Path) -> None:
    """Write the rows as a Parquet file.

    Raises:
        ImportError: pandas or pyarrow is not installed.
        BadInputError: the file cannot be written.
    """
    import pandas
    import pyarrow  # noqa: F401 - pandas itself says it less plainly

    numbers = [*METRIC_NAMES, "seconds"]
    table = pandas.DataFrame([{name: row.get(name) for name in COLUMNS} for row in rows], columns=COLUMNS)
    table = table.astype({name: "float64" if name in numbers else "string" for name in COLUMNS})
    with atomic_path(path) as temporary:
        table.to_parquet(temporary, engine="pyarrow", index=False)


def summary(found: list[Statistic]) -> str:
    """Markdown: of each family the means, then everything about each metric."""
    parts = []
    for family in dict.fromkeys(s.family for s in found):
        of_family = [s for s in found if s.family == family]
        first = of_family[0]
        title = f"## {family}\n\n{first.inputs} inputs of {first.patients} patients"
        if first.left_out:
            title += f"; {first.left_out} more inputs without any voxel are left out"
        parts += [f"{title}.\n", _means_table(of_family), _details_table(of_family)]
    return "\n".join(parts)


def _means_table(found: list[Statistic]) -> str:
    """A line for each method: mean of every metric, with its change against the input."""
    titles = [SHOWN[metric][0] for metric in METRIC_NAMES]
    lines = _table_head(["method, means", *titles, "harmed", "failed", "seconds"])
    for method in dict.fromkeys(s.method for s in found):
        by_metric = {s.metric: s for s in found if s.method == method}
        cells = [_mean_cell(by_metric[metric]) for metric in METRIC_NAMES]
        one = by_metric["dsc"]
        tail = [f"{one.harmed:.0%}", str(one.failed), f"{one.seconds:.1f}"] if method != INPUT else ["", "", ""]
        lines.append(_table_line([method, *cells, *tail]))
    return "\n".join(lines) + "\n"


def _mean_cell(one: Statistic) -> str:
    factor = SHOWN[one.metric][1]
    text = f"{factor * one.mean:.3f}"
    if one.method == INPUT:
        return text
    if one.metric in LARGER_IS_BETTER:
        return f"{text} ({factor * one.difference:+.2f})"
    return text if math.isnan(one.change) else f"{text} ({one.change:+.0%})"


def _details_table(found: list[Statistic]) -> str:
    """A line for each metric and method: centre, tail, and the difference to the input with its interval."""
    lines = _table_head(
        ["metric", "method", "mean", "median", "worst tenth", "difference", "95 % interval", "improved", "worsened"]
    )
    for metric in METRIC_NAMES:
        name, factor = SHOWN[metric]
        for one in (s for s in found if s.metric == metric):
            middle = [f"{factor * value:.3f}" for value in (one.mean, one.median, one.worst_decile)]
            tail = [
                f"{factor * one.difference:+.3f}",
                f"{factor * one.low:+.3f} to {factor * one.high:+.3f}",
                f"{one.improved:.0%}",
                f"{one.worsened:.0%}",
            ]
            lines.append(_table_line([name, one.method, *middle, *(tail if one.method != INPUT else [""] * 4)]))
    return "\n".join(lines) + "\n"


def _table_head(titles: list[str]) -> list[str]:
    return [_table_line(titles), "|" + "---|" * len(titles)]


def _table_line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _write_csv(path: Path, columns, rows) -> None:
    """A line for each row; what has no finite value stays empty."""
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for row in rows:
            writer.writerow({name: _cell(row.get(name)) for name in columns})


def _cell(value):
    return "" if value is None or (isinstance(value, float) and not math.isfinite(value)) else value
