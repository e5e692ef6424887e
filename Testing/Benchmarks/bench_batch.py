"""Throughput, scaling and memory of ``reshapeit batch`` on this machine, with processes killed on the way.

    python -m Testing.Benchmarks.bench_batch --cases 200 --workers 1 2 4 --kills 3 --output FOLDER

Up to 120 real predictions of pancreases (development data), the rest patients drawn from the shipped templates of
spleen and kidneys and damaged. At even intervals one case process or dask worker gets SIGKILL. After each batch the
folder is judged: every case with one row and one file, nothing half. The last line is a JSON object.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil

from ReShapeITLib.core.labels import LabelVolume
from ReShapeITLib.damage.shapes import combined
from ReShapeITLib.io.volumes import write_labels
from ReShapeITLib.job.demo import draw_patient
from ReShapeITLib.templates.store import find_template
from ReShapeITLib.templates.template import OrganTemplate
from Testing.Benchmarks.measuring import DATA, machine, rounded

ROOT = Path(__file__).resolve().parents[2]
ORGANS = ("spleen", "kidney_left", "kidney_right")
REAL_CASES = 120


def write_table(folder: Path, n_cases: int) -> Path:
    """The batch's table; makes what has to be made."""
    folder.mkdir(parents=True)
    real = sorted((DATA / "predictions" / "pancreas").glob("*/*.nii.gz"))[: min(REAL_CASES, n_cases)]
    rows = [(path, f"{path.parent.name}_{path.name.split('.')[0]}", "pancreas") for path in real]
    for seed in range(n_cases - len(rows)):
        organ = ORGANS[seed % len(ORGANS)]
        truth, geometry = draw_patient(OrganTemplate.load(find_template(organ)), seed=seed)
        hurt = combined(truth, geometry, np.random.default_rng(seed))
        path = folder / f"{organ}_{seed}.nii.gz"
        write_labels(LabelVolume.from_array(hurt.astype(np.uint8), geometry), path)
        rows.append((path, path.name.split(".")[0], organ))
    table = folder / "cases.csv"
    with open(table, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("input", "name", "template"))
        writer.writerows(rows)
    return table


def run_batch(table: Path, out: Path, workers: int, n_kills: int, seconds_guess: float) -> dict:
    """One batch with kills spread over about ``seconds_guess``; started again until it ends by itself with code 0."""
    words = [
        sys.executable,
        "-m",
        "ReShapeITLib.cli.main",
        "batch",
        str(table),
        "--out",
        str(out),
        "--preset",
        "draft",
        "--force",
        "--device",
        "cpu",
        "--progress",
        "none",
        "--workers",
        str(workers),
    ]
    rng, kills, starts, peak = random.Random(workers), [], 0, 0
    started = time.monotonic()
    while True:
        starts += 1
        batch = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while batch.poll() is None:
            time.sleep(0.5)
            sizes = _worker_bytes(batch.pid)
            peak = max([peak, *(size for _, size in sizes)])
            due = (len(kills) + 1) * seconds_guess / (n_kills + 1)
            if sizes and len(kills) < n_kills and time.monotonic() - started > due:
                worker = rng.choice(sizes)[0]
                victim = worker if len(kills) % 3 == 2 else (_case_processes(worker) or [worker])[0]
                victim.send_signal(signal.SIGKILL)
                kills.append("worker" if victim is worker else "case process")
        if batch.returncode == 0 or starts == 5:
            break
    seconds = time.monotonic() - started
    with open(out / "results.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {
        "workers": workers,
        "seconds": rounded(seconds),
        "cases_per_minute": rounded(60 * len(rows) / seconds),
        "peak_gb_per_worker": rounded(peak / 1e9),
        "starts": starts,
        "exit_code": batch.returncode,
        "killed": kills,
        "rows": len(rows),
        "names": len({row["case"] for row in rows}),
        "done": sum(row["status"] == "done" for row in rows),
        "files": len(list(out.glob("*.nii.gz"))),
        "temporary_files_left": len(list(out.rglob(".tmp-*"))),
    }


def _case_processes(worker: psutil.Process) -> list[psutil.Process]:
    return [p for p in worker.children(recursive=True) if "case_process" in " ".join(p.cmdline())]


def _worker_bytes(client_pid: int) -> list[tuple[psutil.Process, int]]:
    """Each dask worker with its case process: the worker and the resident bytes of both."""
    found = []
    try:
        for process in psutil.Process(client_pid).children(recursive=True):
            cases = [case for case in process.children() if "case_process" in " ".join(case.cmdline())]
            found += [(process, process.memory_info().rss + case.memory_info().rss) for case in cases]
    except psutil.NoSuchProcess:
        pass  # it ended meanwhile
    return found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--kills", type=int, default=3, help="in each batch")
    parser.add_argument("--output", type=Path, required=True, help="folder to be made")
    told = parser.parse_args()
    output = told.output.resolve()  # a table names its files from where it lies
    table = write_table(output / "in", told.cases)
    runs, guess = [], 3.0 * told.cases
    for workers in told.workers:
        runs.append(run_batch(table, output / f"out_{workers}", workers, told.kills, 0.8 * guess))
        guess = runs[-1]["seconds"] * (1.0 if workers > 1 else 0.5)
        print(json.dumps(runs[-1]), file=sys.stderr, flush=True)
    print(json.dumps({"machine": machine(), "cases": told.cases, "runs": runs}))


if __name__ == "__main__":
    main()
