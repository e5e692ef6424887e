"""A training run in two processes, one of which is killed: does torchrun bring it back, and is every step logged once?

    python -m Testing.Faults.killed_rank --output FOLDER

Not among the tests: on a busy machine gloo may fail to connect after a restart, and every further restart takes half a
minute.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import psutil

STEPS = 60


def main() -> None:
    """Command line; prints one JSON object."""
    from Testing.test_training_ranks import log, start
    from Testing.tiny_template import train_tiny_template

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="folder to be made")
    folder = parser.parse_args().output
    folder.mkdir(parents=True)
    run = start(train_tiny_template(folder / "tiny").parent, folder / "run", 2, STEPS)
    while not (folder / "run" / "run" / "checkpoint.safetensors").exists():
        time.sleep(0.01)
    workers = [p for p in psutil.Process(run.pid).children() if "RANK" in p.environ()]
    next(p for p in workers if p.environ()["RANK"] == "1").kill()
    killed, started = len(log(folder / "run")), time.monotonic()
    run.communicate()
    steps = [row["step"] for row in log(folder / "run")]
    told = {
        "killed_after_step": killed, "seconds_to_the_end": round(time.monotonic() - started, 1),
        "exit_code": run.returncode, "every_step_once": steps == list(range(1, STEPS + 1)),
    }  # fmt: skip
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    main()
