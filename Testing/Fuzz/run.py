"""``python -m Testing.Fuzz.run --files N``: read N damaged files of every kind, and list those that did harm.

The files are read by a second process with bounded memory. One that ends it, takes too much processor time or raises
anything but a ReShapeITError is a crash: its content is kept in the output folder, and the next file goes on in a new
process. The same seed gives the same files.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import selectors
import subprocess
import sys
import tempfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
_MEMORY_BYTES = 6 << 30
_MOST_SECONDS = 20.0  # of the processor, for one file
_START_SECONDS = 60.0


@dataclass
class Outcome:
    """What became of the files of one kind: numbers read, refused, and a line for each crash."""

    read: int = 0
    refused: int = 0
    crashes: list[str] = field(default_factory=list)


def damaged(kind: str, number: int, seed: int, target) -> bytes:
    """The content of one damaged file."""
    from Testing.Fuzz.mutate import mutated

    rng = np.random.default_rng([seed, zlib.crc32(kind.encode()), number])
    content = mutated(target.seeds[int(rng.integers(len(target.seeds)))], rng, target.seeds)
    return gzip.compress(content, 1, mtime=0) if target.packed and rng.random() < 0.8 else content


def fuzz(kinds: list[str], files: int, seed: int, folder: Path, seconds: float = _MOST_SECONDS) -> dict[str, Outcome]:
    """Read ``files`` damaged files of each kind; those that do harm are kept in ``folder``.

    Args:
        seconds: of the processor; a file that takes more counts as hanging.
    """
    outcomes = {kind: Outcome() for kind in kinds}
    todo = [(kind, number) for kind in kinds for number in range(files)]
    while todo:
        todo = todo[_read_some(todo, outcomes, seed, folder, seconds) :]
    return outcomes


def _read_some(todo, outcomes, seed: int, folder: Path, seconds: float) -> int:
    """Read in one process until it dies; how many files are over then."""
    command = [sys.executable, "-m", "Testing.Fuzz.run", "--worker", "--seed", str(seed), "--output", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=ROOT, env=environment, text=True, bufsize=1, **pipes) as worker:
        try:
            for index, (kind, number) in enumerate(todo):
                answer = _ask(worker, kind, number, seconds if index else _START_SECONDS)
                if answer is None:
                    died = worker.poll()
                    how = (
                        f"took more than {seconds:g} s of the processor"
                        if died is None
                        else f"ended the process ({died})"
                    )
                    outcomes[kind].crashes.append(f"{kind} {number}: {how}")
                    return index + 1
                if answer.startswith("crash"):
                    outcomes[kind].crashes.append(f"{kind} {number}: {answer[6:]}")
                else:
                    name = answer.split()[0]
                    setattr(outcomes[kind], name, getattr(outcomes[kind], name) + 1)
        finally:
            worker.kill()
    return len(todo)


def _ask(worker, kind: str, number: int, seconds: float) -> str | None:
    """The worker's answer about one file; None where it died or took too much processor time."""
    import psutil

    try:
        worker.stdin.write(json.dumps([kind, number]) + "\n")
        process = psutil.Process(worker.pid)
        started = sum(process.cpu_times()[:2])
        with selectors.DefaultSelector() as selector:
            selector.register(worker.stdout, selectors.EVENT_READ)
            while not selector.select(1.0):
                if sum(process.cpu_times()[:2]) - started > seconds:
                    return None
    except (OSError, psutil.Error):
        return None
    answer = worker.stdout.readline().strip()
    if not answer:
        worker.wait()
    return answer or None


def _work(seed: int, output: Path) -> None:
    """The second process: reads what it is told on stdin, one answer a line."""
    from ReShapeITLib.core.errors import ReShapeITError
    from Testing.Fuzz.targets import make_targets

    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # libraries may print
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        targets = make_targets(folder)
        _limit_memory()
        for line in sys.stdin:
            kind, number = json.loads(line)
            target = targets[kind]
            content = damaged(kind, number, seed, target)
            kept = output / f"{kind.replace(' ', '_')}_{seed}_{number}{target.suffix}"
            kept.write_bytes(content)  # stays where this process dies
            path = folder / f"damaged{target.suffix}"
            path.write_bytes(content)
            try:
                target.read(path)
                answer = "read"
            except ReShapeITError as error:
                answer = (
                    "refused"
                    if "\n" not in str(error) and len(str(error)) < 1000
                    else f"crash says {str(error)!r:.200}"
                )
            except BaseException as error:  # noqa: BLE001 - what a target raises is the finding
                answer = f"crash {type(error).__name__}: {' '.join(str(error).split())[:200]}"
            if not answer.startswith("crash"):
                kept.unlink()
            answers.write(answer + "\n")


def _limit_memory() -> None:
    """So that a header that asks for all memory fails in this process only."""
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))


def main() -> int:
    """Run and print one line for each kind; 1 where there were crashes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=500, help="damaged files of each kind (default: 500)")
    parser.add_argument("--kinds", nargs="*", help="default: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", default="fuzz_output", help="for the files that do harm")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    output = Path(arguments.output)
    output.mkdir(parents=True, exist_ok=True)
    if arguments.worker:
        _work(arguments.seed, output.resolve())
        return 0
    from Testing.Fuzz.targets import make_targets

    with tempfile.TemporaryDirectory() as name:
        kinds = arguments.kinds or list(make_targets(Path(name)))
    harm = False
    for kind in kinds:
        outcome = fuzz([kind], arguments.files, arguments.seed, output.resolve())[kind]
        counts = f"{outcome.read:>6} read {outcome.refused:>6} refused {len(outcome.crashes):>4} crashes"
        print(f"{kind:<14}{counts}", flush=True)
        for crash in outcome.crashes:
            print(f"    {crash}", flush=True)
        harm |= bool(outcome.crashes)
    return int(harm)


if __name__ == "__main__":
    sys.exit(main())
