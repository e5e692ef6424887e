"""Run every benchmark of this folder, each in a process of its own; write JSON, a table and plots.

    python -m Testing.Benchmarks.run [--output runs/bench] [--only fit,extraction]

``results.json`` has everything; ``table.md`` the figures of the goals; ``scaling.png`` cost against work.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

_BY_THEMSELVES = {"batch"}  # half an hour, and a folder of results


def main() -> int:
    """Run all ``bench_*.py`` but those that are run by themselves; the exit code tells whether one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/bench"), help="folder (default: runs/bench)")
    parser.add_argument("--only", default="", help="names of benchmarks, separated by commas")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    file = arguments.output / "results.json"
    results = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    only, failed = set(filter(None, arguments.only.split(","))), []
    for script in sorted(Path(__file__).parent.glob("bench_*.py")):
        name = script.stem.removeprefix("bench_")
        if (only and name not in only) or name in _BY_THEMSELVES:
            continue
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        print(f"{name} (load average {load}) ...", flush=True)
        command = [sys.executable, "-m", f"Testing.Benchmarks.{script.stem}"]
        process = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        print(process.stdout, end="", flush=True)
        if process.returncode:
            failed.append(name)
            continue
        results[name] = {"load_average": load, **json.loads(process.stdout[process.stdout.index("{") :])}
        file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (arguments.output / "table.md").write_text(table(results), encoding="utf-8")
    if "scaling" in results:
        plot(results["scaling"]["curves"], arguments.output / "scaling.png")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


def table(results: dict) -> str:
    """Markdown table of all pairs of ours and the baseline, and of the whole processes."""
    lines = ["| work | ours, s | baseline, s | ratio |", "|---|---|---|---|"]
    for name, figures in _pairs(results):
        baseline = figures.get("baseline_s", figures.get("pycpd_s"))
        lines.append(f"| {name} | {figures['ours_s']} | {baseline} | {figures['ratio']} |")
    lines += ["", "| process | wall, s | processor, s | peak, MB | load average |", "|---|---|---|---|---|"]
    for name, p in results.get("refine", {}).get("processes", {}).items():
        lines.append(f"| {name} | {p['wall_s']} | {p['processor_s']} | {p['peak_mb']} | {p['load_average']} |")
    lines += ["", "| cost against work | exponent |", "|---|---|"]
    curves = results.get("scaling", {}).get("curves", {})
    lines += [f"| {name} | {curve['exponent']} |" for name, curve in curves.items()]
    return "\n".join(lines) + "\n"


def _pairs(value, name: str = ""):
    """(name, figures) of every comparison in nested results."""
    if not isinstance(value, dict):
        return
    if "ours_s" in value and "ratio" in value:
        yield name.strip(), value
    for key, inner in value.items():
        yield from _pairs(inner, f"{name} {key}")


def plot(curves: dict, file: Path) -> None:
    """Seconds against work on logarithmic axes, each with a line of exponent 1."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(curves), figsize=(3.2 * len(curves), 3.0), constrained_layout=True)
    for axis, (name, curve) in zip(axes, curves.items(), strict=True):
        work, seconds = curve["work"], curve["seconds"]
        axis.loglog(work, seconds, "o-", label=f"exponent {curve['exponent']}")
        axis.loglog(work, [seconds[0] * w / work[0] for w in work], "--", color="gray", label="linear")
        axis.set_title(name)
        axis.set_xlabel("work")
        axis.legend(fontsize=7)
    axes[0].set_ylabel("processor seconds")
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    sys.exit(main())
