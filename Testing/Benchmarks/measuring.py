"""What all benchmarks share: alternating runs, medians, and what has to be said about the machine."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def machine() -> dict:
    """Processor, cores, load average and threads of this process; the speed of a matrix product of this moment."""
    import torch

    load = os.getloadavg() if hasattr(os, "getloadavg") else ()
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_average": [round(x, 2) for x in load],
        "torch": torch.__version__,
        "python": platform.python_version(),
        "matmul_gflops": round(matmul_gflops(), 1),
    }


def matmul_gflops(n: int = 1024, rounds: int = 7) -> float:
    """Best speed of an (n, n) single-precision product by processor time: what this machine can do at most."""
    import torch

    a = torch.rand(n, n)
    seconds = [processor_seconds(lambda: a @ a)[0] for _ in range(rounds)]
    return 2 * n**3 / min(seconds) / 1e9


def processor_seconds(work: Callable) -> tuple[float, object]:
    """Processor seconds (other programs do not count) and the result of a call."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def compare(ours: Callable, baseline: Callable, rounds: int, warm_up: int = 1) -> dict:
    """Median processor seconds of both sides in alternating runs, and the median of the ratios of neighbours."""
    for _ in range(warm_up):
        ours(), baseline()
    runs = [(processor_seconds(ours)[0], processor_seconds(baseline)[0]) for _ in range(rounds)]
    ours_s, baseline_s = (statistics.median(column) for column in zip(*runs, strict=True))
    ratio = statistics.median(b / a for a, b in runs)
    return {"ours_s": rounded(ours_s), "baseline_s": rounded(baseline_s), "ratio": rounded(ratio), "rounds": rounds}


def rounded(value: float) -> float:
    """Three significant digits."""
    return float(f"{value:.3g}")


def slope(work: list[float], seconds: list[float]) -> float:
    """Exponent p of ``seconds ~ work ** p``, by least squares; 1 is linear."""
    return rounded(float(np.polyfit(np.log(work), np.log(seconds), 1)[0]))


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
