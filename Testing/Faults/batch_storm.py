"""A batch on a dask cluster while processes are killed at random: is every case done, exactly once, and nothing half?

    python -m Testing.Faults.batch_storm --cases 60 --kills 12 --output FOLDER

Trains the tiny template, writes that many generated patients, starts a scheduler and two workers, and a batch on them.
At random moments one of case process, worker, scheduler and client gets SIGKILL; what is gone is started again, as an
operator would. At the end the batch runs once more without faults. One JSON object is printed.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("case process", "worker", "scheduler", "client")


class Cluster:
    """A scheduler, two workers and a batch, each a process of its own that can be started again.

    Args:
        inputs, out: of the batch.
        template: its template.
    """

    def __init__(self, inputs: Path, out: Path, template: Path):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.batch = [
            "-m",
            "ReShapeITLib.cli.main",
            "batch",
            str(inputs),
            "--out",
            str(out),
            "--template",
            str(template),
            "--preset",
            "draft",
            "--device",
            "cpu",
            "--progress",
            "none",
            "--scheduler",
            self.address,
        ]
        self.scheduler, self.workers, self.client = None, [None, None], None
        self.client_ends: Counter[int] = Counter()

    def keep_alive(self) -> bool:
        """Start what is not there; False once the batch has ended well."""
        if not _alive(self.scheduler):
            words = ["--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard"]
            self.scheduler = _start("-m", "distributed.cli.dask_scheduler", *words)
            time.sleep(2.0)
        for index, worker in enumerate(self.workers):
            if not _alive(worker):
                words = ["--nthreads", "1", "--no-dashboard", "--death-timeout", "20"]
                self.workers[index] = _start("-m", "distributed.cli.dask_worker", self.address, *words)
        if not _alive(self.client):
            if self.client is not None:
                self.client_ends[self.client.returncode] += 1
                if self.client.returncode == 0:
                    return False
            self.client = _start(*self.batch)
        return True

    def victims(self, kind: str) -> list[psutil.Process]:
        """Living processes of a kind."""
        if kind == "client":
            return [psutil.Process(self.client.pid)]
        if kind == "scheduler":
            return [psutil.Process(self.scheduler.pid)]
        below = [p for worker in self.workers for p in psutil.Process(worker.pid).children(recursive=True)]
        cases = [p for p in below if _runs(p, "case_process")]
        return cases if kind == "case process" else [p for p in below if p not in cases and _runs(p, "spawn_main")]

    def stop(self) -> None:
        """End everything."""
        for process in (self.client, *self.workers, self.scheduler):
            if _alive(process):
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _start(*words: str) -> subprocess.Popen:
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([sys.executable, *words], cwd=ROOT, start_new_session=True, **quiet)


def _alive(process: subprocess.Popen | None) -> bool:
    return process is not None and process.poll() is None


def _runs(process: psutil.Process, word: str) -> bool:
    try:
        return word in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False


def storm(folder: Path, n_cases: int, n_kills: int, seed: int) -> dict:
    """Run and judge."""
    from Testing.tiny_template import train_tiny_template
    from Testing.Unit.test_batch import write_patients

    inputs, out = folder / "in", folder / "out"
    write_patients(inputs, n_cases)
    cluster = Cluster(inputs, out, train_tiny_template(folder / "template"))
    rng, killed, records, seen, again = random.Random(seed), Counter(), out / ".batch" / "cases", {}, 0
    started, next_kill = time.monotonic(), time.monotonic() + 15.0
    try:
        while cluster.keep_alive():
            for record in records.glob("*.json"):
                when = record.stat().st_mtime_ns
                again += record.name in seen and seen[record.name] != when
                seen[record.name] = when
            if sum(killed.values()) < n_kills and time.monotonic() > next_kill:
                kind = rng.choice(KINDS)
                victims = cluster.victims(kind)
                if victims:
                    rng.choice(victims).kill()
                    killed[kind] += 1
                next_kill = time.monotonic() + rng.uniform(2.0, 8.0)
            time.sleep(0.05)
    finally:
        cluster.stop()
    return {
        "seconds": round(time.monotonic() - started, 1),
        "killed": dict(killed),
        "ends_of_the_client": dict(cluster.client_ends),
        **judged(inputs, out, again),
    }


def judged(inputs: Path, out: Path, again: int) -> dict:
    """What is in the folder at the end."""
    with open(out / "results.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    given, results = {p.name for p in inputs.glob("*.nii.gz")}, {p.name for p in out.glob("*.nii.gz")}
    return {
        "cases": len(given),
        "done": sum(row["status"] == "done" for row in rows),
        "rows": len(rows),
        "results_missing": len(given - results),
        "results_too_many": len(results - given),
        "records_written_twice": again,
        "temporary_files_left": len(list(out.rglob(".tmp-*"))),
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=60)
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True, help="folder to be made")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True)
    print(json.dumps(storm(arguments.output, arguments.cases, arguments.kills, arguments.seed), indent=2))


if __name__ == "__main__":
    main()
