"""Run every benchmark of this folder, each in a process of its own, and collect what they print.

    python -m Testing.Benchmarks.run [--output results.json]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path


def main() -> int:
    """Run all ``bench_*.py``; the exit code tells whether one failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, help="write the results as JSON as well")
    arguments = parser.parse_args()
    results = {"machine": platform.processor() or platform.machine(), "cores": os.cpu_count(), "benchmarks": {}}
    failed = []
    for script in sorted(Path(__file__).parent.glob("bench_*.py")):
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        print(f"{script.stem} (load average {load}) ...", flush=True)
        process = subprocess.run(
            [sys.executable, "-m", f"Testing.Benchmarks.{script.stem}"], capture_output=True, text=True, check=False
        )
        print(process.stdout, process.stderr, sep="", end="", flush=True)
        if process.returncode:
            failed.append(script.stem)
        else:
            printed = process.stdout[process.stdout.index("{") :]
            results["benchmarks"][script.stem] = {"load_average": load, **json.loads(printed)}
    if arguments.output:
        arguments.output.write_text(json.dumps(results, indent=2), encoding="utf-8")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
