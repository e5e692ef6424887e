"""What several studies say, in a few tables for docs/RESULTS.md.

    python -m Testing.Studies.study_summary FOLDER... [--method reshapeit]

Each FOLDER is what ``python -m Testing.Studies STUDY.yaml --output FOLDER`` left. Printed is, for each family of input,
a line for each study: means of the input and of the method, their change, the median, and the best of the others.
Predictions are told apart by network as well.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from Testing.Studies.evaluation.measure import METRIC_NAMES
from Testing.Studies.evaluation.statistics import LARGER_IS_BETTER, bootstrap_interval, harmed, names_of, pairs
from Testing.Studies.evaluation.study import INPUT
from Testing.Studies.evaluation.table import SHOWN

_RESAMPLES = 2000


def parts_of(rows: list[dict]) -> Iterator[tuple[str, str, list[dict]]]:
    """Family, name of the part and its rows; predictions as a whole and network by network."""
    for family in names_of(rows, "family"):
        of_family = [row for row in rows if row["family"] == family]
        yield family, "", of_family
        variants = names_of(of_family, "variant")
        if len(variants) > 1 and not variants[0].startswith("draw"):
            for variant in variants:
                yield family, variant, [row for row in of_family if row["variant"] == variant]


def cells(rows: list[dict], family: str, method: str) -> list[str]:
    """Number of inputs, "before -> after (change)" of every metric, and the share that was harmed."""
    told = pairs(rows, family, method)
    texts = [str(len(told.patients))]
    for metric in METRIC_NAMES:
        before, after = told.before[metric], told.after[metric]
        factor = SHOWN[metric][1]
        low, high = bootstrap_interval(after - before, told.patients, _RESAMPLES)
        sure = "" if low <= 0.0 <= high else "*"
        if metric in LARGER_IS_BETTER:
            change = f"{factor * (after.mean() - before.mean()):+.2f}"
        else:
            change = f"{(after.mean() - before.mean()) / before.mean():+.0%}" if before.mean() else "0"
        texts.append(f"{factor * before.mean():.4g} -> {factor * after.mean():.4g} ({change}{sure})")
    return [*texts, f"{harmed(told).mean():.0%}"]


def medians(rows: list[dict], family: str, method: str) -> str:
    """Change of the median CD and HD95."""
    told = pairs(rows, family, method)
    changes = [np.median(told.after[m]) / max(1e-12, np.median(told.before[m])) - 1.0 for m in ("cd", "hd95_mm")]
    return " / ".join(f"{change:+.0%}" for change in changes)


def best_rival(rows: list[dict], family: str, method: str) -> str:
    """The other methods with the least mean CD and the least mean HD95, on the inputs that the method has done."""
    rivals = [name for name in names_of(rows, "method") if name not in (INPUT, method)]
    found = []
    for metric, unit in (("cd", ""), ("hd95_mm", " mm")):
        means = {name: pairs(rows, family, name).after[metric] for name in rivals}
        means = {name: SHOWN[metric][1] * values.mean() for name, values in means.items() if len(values)}
        if means:
            name = min(means, key=means.get)
            found.append(f"{means[name]:.3g}{unit} {name}")
    return "; ".join(found)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--method", default="reshapeit")
    arguments = parser.parse_args()
    tables: dict[str, list[str]] = {}
    for folder in arguments.folders:
        rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
        for family, part, some in parts_of(rows):
            if any(row["method"] == arguments.method for row in some):
                name = " ".join(filter(None, [folder.name, part]))
                line = [name, *cells(some, family, arguments.method), medians(some, family, arguments.method)]
                tables.setdefault(family, []).append(" | ".join([*line, best_rival(some, family, arguments.method)]))
    metrics = [SHOWN[metric][0] for metric in METRIC_NAMES]
    titles = ["study", "inputs", *metrics, "harmed", "median CD / HD95", "best rival CD; HD95"]
    for family, lines in tables.items():
        print(f"### {family}\n\n| {' | '.join(titles)} |\n{'|---' * len(titles)}|")
        print("\n".join(f"| {line} |" for line in lines) + "\n")
    print("`*`: the 95 % bootstrap interval of the mean difference (patients resampled) does not hold 0.")


if __name__ == "__main__":
    main()
