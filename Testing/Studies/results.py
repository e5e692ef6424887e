"""Tables of docs/RESULTS.md from the files of studies.

    python -m Testing.Studies.results FOLDER... [--method reshapeit] [--against METHOD] [--earlier FOLDER] [--rivals]

Each FOLDER is the output of ``python -m Testing.Studies STUDY.yaml --output FOLDER``. Each family of input has
a table with a line for each study: means before and after the method, from ``statistics.csv``. A family of several
variants, such as predictions of several networks, has a line for each variant, too, from ``results.csv``. With
``--rivals`` each method has a line. With ``--against`` another method, or that of the same studies in a folder of
an earlier program (``--earlier``), stands in the place of the input: "before" is what it makes of the same inputs.
"""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path

from ReShapeITLib.cli.common import Parser
from ReShapeITLib.cli.main import run_command
from ReShapeITLib.core.errors import BadInputError
from Testing.Studies.evaluation.measure import METRIC_NAMES
from Testing.Studies.evaluation.statistics import LARGER_IS_BETTER, Statistic, names_of, statistics
from Testing.Studies.evaluation.study import INPUT
from Testing.Studies.evaluation.table import SHOWN

_TEXTS = ("family", "method", "metric")
_COUNTS = ("inputs", "patients", "failed", "left_out")
_RESAMPLES = 2000
_NOTE = "`*`: the 95 % bootstrap interval of the mean difference, patients resampled, excludes 0."


def main(argv: Sequence[str] | None = None) -> int:
    """Run with ``argv`` (default: the process's arguments); returns the exit code of ``reshapeit``."""
    return run_command(build_parser, list(sys.argv[1:] if argv is None else argv))


def build_parser() -> Parser:
    """Parser of the command."""
    parser = Parser(prog="python -m Testing.Studies.results", description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", metavar="FOLDER", type=Path, help="output of a study")
    parser.add_argument("--method", default="reshapeit", help="compared with the input (default: reshapeit)")
    parser.add_argument("--against", default=INPUT, metavar="METHOD", help="compare with this one (default: the input)")
    parser.add_argument("--earlier", type=Path, metavar="FOLDER", help="of studies of the same names, for --against")
    parser.add_argument("--rivals", action="store_true", help="a line for each method")
    parser.set_defaults(run=run)
    return parser


def run(arguments) -> None:
    """Print the tables.

    Raises:
        BadInputError: a folder has no results, or none of them is of the method.
    """
    tables: dict[str, list[list[str]]] = {}
    for folder in arguments.folders:
        for part, found in compared_parts(folder, arguments.against, arguments.earlier):
            lines = rival_lines(part, found) if arguments.rivals else [change_line(part, found, arguments.method)]
            tables.setdefault(found[0].family, []).extend(line for line in lines if line)
    if not any(tables.values()):
        raise BadInputError(f"no study in {arguments.folders[0]} has the method {arguments.method}")
    metrics = [SHOWN[metric][0] for metric in METRIC_NAMES]
    first = ["study", "method"] if arguments.rivals else ["study", "inputs"]
    last = ["harmed"] if arguments.rivals else ["harmed", "median CD / HD95"]
    for family, lines in tables.items():
        if lines:
            print(f"### {family}\n")
            print("\n".join(["| " + " | ".join(line) + " |" for line in _with_head([*first, *metrics, *last], lines)]))
            print()
    print(_NOTE)


def parts_of(folder: Path) -> list[tuple[str, list[Statistic]]]:
    """Name and statistics of each family of a study, followed by those of its variants.

    Raises:
        BadInputError: the folder has no statistics, or they are not those of a study.
    """
    found, rows = read_statistics(folder / "statistics.csv"), _read_rows(folder / "results.csv")
    return _parts(folder.name, found, rows)


def compared_parts(
    folder: Path, against: str = INPUT, earlier: Path | None = None
) -> list[tuple[str, list[Statistic]]]:
    """As :func:`parts_of`, with what another method made of the same inputs in the place of the input.

    Args:
        folder: of a study.
        against: the method; the input itself is what the study's own statistics compare with.
        earlier: holds a folder of the same name with that method's rows; the study's own folder where None.

    Raises:
        BadInputError: either folder has no results, or ``against`` has none of these inputs.
    """
    if against == INPUT and earlier is None:
        return parts_of(folder)
    others = _read_rows((earlier / folder.name if earlier else folder) / "results.csv")
    by_key = {(row["family"], row["case"], row["variant"], row["method"]): row for row in others}
    # A method that fails leaves the user with the input.
    given = {
        key[:3]: {**(by_key[(*key[:3], INPUT)] if "error" in row else row), "method": INPUT}
        for key, row in by_key.items()
        if key[3] == against
    }
    rows = list(given.values())
    rows += [
        row
        for row in _read_rows(folder / "results.csv")
        if row["method"] != INPUT and (row["family"], row["case"], row["variant"]) in given
    ]
    if len(rows) == len(given):
        raise BadInputError(f"{earlier or folder} has no results of the method {against} for the inputs of {folder}")
    return _parts(folder.name, statistics(rows, _RESAMPLES), rows)


def _parts(name: str, found: list[Statistic], rows: list[dict]) -> list[tuple[str, list[Statistic]]]:
    parts = []
    for family in names_of([{"family": one.family} for one in found], "family"):
        parts.append((name, [one for one in found if one.family == family]))
        of_family = [row for row in rows if row["family"] == family]
        variants = names_of(of_family, "variant")
        if len(variants) > 1 and not variants[0].startswith("draw"):
            for variant in variants:
                of_variant = statistics([row for row in of_family if row["variant"] == variant], _RESAMPLES)
                if of_variant:
                    parts.append((f"{name} {variant}", of_variant))
    return parts


def read_statistics(path: Path) -> list[Statistic]:
    """The statistics that a study wrote; what has no finite value is NaN.

    Raises:
        BadInputError: there is no such file, or its columns are others.
    """
    rows = _read_csv(path)
    names = [field.name for field in fields(Statistic)]
    if not rows or list(rows[0]) != names:
        raise BadInputError(f"{path} does not hold the statistics of a study; run the study again")
    return [Statistic(**{name: _value(name, row[name]) for name in names}) for row in rows]


def change_line(part: str, found: Iterable[Statistic], method: str) -> list[str]:
    """Inputs, "before -> after (change)" of each metric, harmed, change of the medians; [] without the method."""
    of_method = {one.metric: one for one in found if one.method == method}
    given = {one.metric: one for one in found if one.method == INPUT}
    if not of_method:
        return []
    changes = [_change(of_method[metric]) for metric in METRIC_NAMES]
    medians = " / ".join(_median_change(given.get(metric), of_method[metric]) for metric in ("cd", "hd95_mm"))
    one = of_method["dsc"]
    return [part, str(one.inputs), *changes, f"{one.harmed:.0%}", medians]


def rival_lines(part: str, found: Sequence[Statistic]) -> list[list[str]]:
    """A line for each method: mean of each metric, and the share that was harmed."""
    lines = []
    for method in dict.fromkeys(one.method for one in found):
        of_method = {one.metric: one for one in found if one.method == method}
        means = [f"{SHOWN[metric][1] * of_method[metric].mean:.4g}" for metric in METRIC_NAMES]
        lines.append([part, method, *means, "" if method == INPUT else f"{of_method['dsc'].harmed:.0%}"])
    return lines


def _change(one: Statistic) -> str:
    factor = SHOWN[one.metric][1]
    before = one.mean - one.difference  # of the same inputs
    sure = "" if one.low <= 0.0 <= one.high else "*"
    if one.metric in LARGER_IS_BETTER:
        change = f"{factor * one.difference:+.2f}"
    else:
        change = "0" if math.isnan(one.change) else f"{one.change:+.0%}"
    return f"{factor * before:.4g} -> {factor * one.mean:.4g} ({change}{sure})"


def _median_change(given: Statistic | None, one: Statistic) -> str:
    """Change of the median; a dash where the method did not get all inputs."""
    if given is None or given.inputs != one.inputs or not given.median:
        return "-"
    return f"{one.median / given.median - 1.0:+.0%}"


def _with_head(titles: list[str], lines: list[list[str]]) -> list[list[str]]:
    return [titles, ["---"] * len(titles), *lines]


def _read_rows(path: Path) -> list[dict]:
    """The rows of a study, as ``run_study`` returns them."""
    rows = []
    for row in _read_csv(path):
        about = {name: text for name, text in row.items() if name != "error" or text}
        measured = {name: float(row[name]) if row[name] else None for name in METRIC_NAMES}
        rows.append({**about, **measured, "seconds": float(row["seconds"] or "nan")})
    return rows


def _read_csv(path: Path) -> list[dict[str, str]]:
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        raise BadInputError(f"{path} cannot be read: {error.strerror}; name the output folder of a study") from error


def _value(name: str, text: str) -> str | int | float:
    if name in _TEXTS:
        return text
    if name in _COUNTS:
        return int(text)
    return float(text) if text else math.nan


if __name__ == "__main__":
    sys.exit(main())
