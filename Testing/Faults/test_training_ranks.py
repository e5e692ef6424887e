"""Training shared by processes that torchrun starts has the same curve as that of one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from ReShapeITLib.cli.main import main
from ReShapeITLib.core.errors import ReShapeITError
from ReShapeITLib.training.data import PointBatch
from ReShapeITLib.training.ranks import Ranks, meet

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """\
preset: compact
model: {hidden: 16, depth: 4, code_size: 4, hyper_hidden: 8, first_omega: 10.0, hidden_omega: 15.0}
checkpoint_interval: 10
optimiser:
  steps: 40
  shapes_per_step: 5
  surface_points: 100
  free_points: 100
  laplacian_points: 20
  warmup_steps: 5
  template_interval: 10
  template_resolution: 12
"""
pytestmark = pytest.mark.skipif(
    sys.platform == "win32" or not torch.distributed.is_available(), reason="needs torch.distributed with gloo"
)


def words(tiny_run, folder: Path) -> list[str]:
    """``reshapeit train`` on the tiny template's shapes."""
    folder.mkdir()
    (folder / "config.yaml").write_text(CONFIG)
    files = ["--data", tiny_run / "samples", "--output", folder / "run", "--config", folder / "config.yaml"]
    return ["train", *map(str, files), "--organ", "test_organ", "--device", "cpu"]


def start(words: list[str], processes: int) -> subprocess.Popen:
    """The command in that many processes."""
    launch = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "--max-restarts", "6", "-m"]
    command = [sys.executable, "-m", *launch, "ReShapeITLib.cli.main", *words]
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE)


def log(folder: Path) -> list[dict]:
    path = folder / "run" / "train.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def ended(run: subprocess.Popen) -> None:
    errors = run.communicate(timeout=240)[1]
    assert run.returncode == 0, errors.decode()


def test_two_processes_train_as_one_does_even_where_one_is_killed(tiny_run, tmp_path):
    assert main(words(tiny_run, tmp_path / "1")) == 0
    run = start(words(tiny_run, tmp_path / "2"), 2)
    while not (tmp_path / "2" / "run" / "checkpoint.safetensors").exists():
        assert run.poll() is None
        time.sleep(0.01)
    workers = [process for process in psutil.Process(run.pid).children() if "RANK" in process.environ()]
    next(worker for worker in workers if worker.environ()["RANK"] == "1").kill()
    assert len(log(tmp_path / "2")) < 40, "killed too late"
    ended(run)
    one, two = (log(tmp_path / name) for name in ("1", "2"))
    assert [row["step"] for row in two] == list(range(1, 41))
    for name in one[0]:
        values = np.array([[row[name] for row in rows[:20]] for rows in (one, two)])
        # Rounding grows from step to step.
        np.testing.assert_allclose(values[0, :5], values[1, :5], rtol=1e-4, atol=1e-6, err_msg=name)
        np.testing.assert_allclose(values[0], values[1], rtol=2e-2, atol=1e-3, err_msg=name)
    assert (tmp_path / "2" / "run" / "test_organ.safetensors").is_file()


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_the_weighted_means_of_all_shares_are_the_mean_of_the_batch(size):
    sdf = torch.arange(10.0).reshape(5, 2)
    batch = PointBatch(torch.arange(5), torch.zeros(5, 2, 3), torch.zeros(5, 1, 3), sdf)
    shares = [Ranks(rank, size).share(batch) for rank in range(size)]
    mean = sum(weight * part.sdf.mean() for part, weight in shares) / size
    assert float(mean) == pytest.approx(float(sdf.mean()))
    assert sorted(int(i) for part, weight in shares if weight for i in part.shapes) == list(range(5))


def test_processes_that_were_started_again_do_not_meet_killed_ones(tmp_path):
    def store():
        return torch.distributed.FileStore(str(tmp_path / "store"), -1)

    with ThreadPoolExecutor(3) as threads:

        def started(rank):
            return threads.submit(meet, store(), rank, 3, 30.0)

        killed = [one.result() for one in [started(rank) for rank in range(3)]]
        killed[1].set("address", "of one that was killed")
        first, third = started(0), started(2)
        time.sleep(0.2)
        assert not first.done(), "the killed one was taken for alive"
        parts = [one.result() for one in (first, started(1), third)]
    for rank, part in enumerate(parts):
        part.set(f"said by {rank}", "here")
    assert all(part.check([f"said by {rank}" for rank in range(3)]) for part in parts)
    assert not parts[0].check(["address"])


def test_processes_that_do_not_come_are_named(tmp_path):
    store = torch.distributed.FileStore(str(tmp_path / "store"), -1)
    with pytest.raises(ReShapeITError, match=r"Processes \[1, 2\] of 3 did not come"):
        meet(store, 0, 3, seconds=0.0)
