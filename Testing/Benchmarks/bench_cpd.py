"""Time of one CPD iteration against pycpd, and peak memory of a large registration; prints one line of JSON.

Usage: python Testing/Benchmarks/bench_cpd.py [--points 4000] [--repeats 5] [--large 40000]

Both run in turns in one process with one thread, so that the ratio means something on a busy machine; the memory is
that of a process of its own. The variance is once the first one (all pairs), where nothing can be left out, and once a
late one.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from statistics import median

import numpy as np


def lopsided(count: int, seed: int) -> np.ndarray:
    """Points (count, 3) on a bent ellipsoid."""
    points = np.random.default_rng(seed).normal(size=(count, 3))
    points *= np.array([1.0, 0.7, 0.5]) / np.linalg.norm(points, axis=1, keepdims=True)
    points[:, 0] += 0.4 * points[:, 1] ** 2
    return points


def seconds_ours(source, target, sigma2, iterations, dtype="float32") -> float:
    """Seconds per iteration of this library; the posterior at the end counts as an iteration."""
    from ReShapeITLib.interaction.cpd import CpdOptions, similarity_cpd

    options = CpdOptions(max_iterations=iterations, tolerance=0, initial_sigma2=sigma2, dtype=dtype)
    start = time.perf_counter()
    similarity_cpd(source, target, options)
    return (time.perf_counter() - start) / (iterations + 1)


def seconds_pycpd(source, target, sigma2) -> float:
    """Seconds of one iteration of pycpd."""
    from pycpd import RigidRegistration

    registration = RigidRegistration(X=target, Y=source, w=0.1, max_iterations=1, tolerance=0, sigma2=sigma2)
    start = time.perf_counter()
    registration.register()
    return time.perf_counter() - start


def compare(points: int, repeats: int, sigma2: float | None) -> dict:
    """Medians of alternating runs, and the ratio pycpd / ours."""
    source, target = lopsided(points, 0), lopsided(points, 1) + 0.05
    seconds_ours(source, target, sigma2, 1)
    runs = [(seconds_ours(source, target, sigma2, 4), seconds_pycpd(source, target, sigma2)) for _ in range(repeats)]
    ours, theirs = (median(column) for column in zip(*runs, strict=True))
    ratio = median(b / a for a, b in runs)
    return {"ours_s": round(ours, 4), "pycpd_s": round(theirs, 4), "ratio": round(ratio, 1)}


def peak_memory_gb(points: int) -> dict:
    """Peak resident memory of a process that iterates on points x points, and of one that has 100 of them."""
    peaks = {}
    for name, count in (("baseline", 100), ("large", points)):
        command = [sys.executable, __file__, "--worker", str(count)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        peaks[name] = json.loads(done.stdout)
    return peaks


def worker(points: int) -> None:
    """One iteration and the posterior, with the whole matrix; prints peak memory and time."""
    taken = seconds_ours(lopsided(points, 0), lopsided(points, 1) + 0.05, None, 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024**3 if sys.platform == "darwin" else 1024**2)
    print(json.dumps({"points": points, "peak_gb": round(peak, 3), "seconds_per_iteration": round(taken, 3)}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=4000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--large", type=int, default=40_000)
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    if arguments.worker:
        worker(arguments.worker)
        return
    report = {
        "points": arguments.points,
        "first_iteration": compare(arguments.points, arguments.repeats, None),
        "late_iteration": compare(arguments.points, arguments.repeats, 0.02**2),
        "memory": peak_memory_gb(arguments.large),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
