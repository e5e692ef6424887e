"""Batches under fire: what is killed, full or hung is told or mended, and every case is done once in the end."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

pytest.importorskip("distributed", reason="needs dask: pip install 'ReShapeITLib[batch]'")
if sys.platform == "win32":
    pytest.skip("signals and limits of POSIX systems", allow_module_level=True)

from ReShapeITLib.batch.cases import BatchOptions, read_cases
from ReShapeITLib.batch.worker import CaseProcess, CaseProcessLost, Limits
from ReShapeITLib.cli.main import main
from Testing.Unit.test_batch import write_patients

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 90


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("batch") / "in"
    write_patients(folder, 4)
    return folder


def words(inputs, out, template, *more: str) -> list[str]:
    """A batch of one worker, as it is typed."""
    places = [str(inputs), "--out", str(out), "--template", str(template)]
    return ["batch", *places, *["--preset", "draft", "--device", "cpu", "--workers", "1", "--progress", "none"], *more]


def start(inputs, out, template, *more: str, shell: str = "") -> subprocess.Popen:
    """A batch in a process and process group of its own, after shell commands such as limits."""
    command = [sys.executable, "-m", "ReShapeITLib.cli.main", *words(inputs, out, template, *more)]
    if shell:
        command = ["/bin/sh", "-c", f'{shell}\nexec "$@"', "sh", *command]
    return subprocess.Popen(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )


def finish(batch: subprocess.Popen) -> tuple[int, str]:
    out, err = batch.communicate(timeout=PATIENCE_S)
    return batch.returncode, out + err


def rows(out: Path) -> dict[str, dict]:
    with open(out / "results.csv", newline="") as file:
        return {row["case"]: row for row in csv.DictReader(file)}


def wait_for(condition):
    """The first result of ``condition`` that counts as true."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("it did not happen")


def processes(batch: subprocess.Popen, word: str) -> list[psutil.Process]:
    """Living descendants whose command line has a word."""
    found = []
    for process in psutil.Process(batch.pid).children(recursive=True):
        try:
            if word in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def records(out: Path) -> list[Path]:
    return sorted((out / ".batch" / "cases").glob("*.json"))


def assert_all_done_once(out: Path, n: int = 4) -> None:
    """All results are there and whole, and nothing that is half done is to be seen."""
    assert [row["status"] for row in rows(out).values()] == ["done"] * n
    assert len(list(out.glob("*.nii.gz"))) == n
    for record in records(out):
        assert json.loads(record.read_text())["status"] == "done"


def test_a_killed_case_process_and_a_killed_worker_are_replaced_and_their_cases_tried_again(
    inputs, tmp_path, tiny_template_file
):
    batch = start(inputs, tmp_path / "out", tiny_template_file)
    wait_for(lambda: records(tmp_path / "out"))
    wait_for(lambda: processes(batch, "case_process"))[0].kill()
    wait_for(lambda: len(records(tmp_path / "out")) > 1)
    children = wait_for(lambda: processes(batch, "case_process"))
    children[0].parent().kill()
    wait_for(lambda: not children[0].is_running() or children[0].status() == psutil.STATUS_ZOMBIE)
    code, told = finish(batch)
    assert code == 0, told
    assert_all_done_once(tmp_path / "out")


def test_a_killed_client_leaves_no_process_and_the_next_start_goes_on(inputs, tmp_path, tiny_template_file, capsys):
    batch = start(inputs, tmp_path / "out", tiny_template_file)
    wait_for(lambda: records(tmp_path / "out"))
    group = processes(batch, "")
    batch.kill()
    finish(batch)
    first = {path: path.stat().st_mtime_ns for path in records(tmp_path / "out")}
    assert 0 < len(first) < 4
    wait_for(lambda: not any(process.is_running() and process.status() != "zombie" for process in group))
    assert main(words(inputs, tmp_path / "out", tiny_template_file)) == 0
    assert "of 4 cases are done already" in capsys.readouterr().err
    assert_all_done_once(tmp_path / "out")
    assert all(path.stat().st_mtime_ns == when for path, when in first.items()), "done twice"


def test_a_second_batch_in_the_folder_is_turned_away_and_a_cancelled_one_keeps_what_is_done(
    inputs, tmp_path, tiny_template_file, capsys
):
    batch = start(inputs, tmp_path / "out", tiny_template_file)
    wait_for(lambda: (tmp_path / "out" / ".batch" / "lock").exists())
    assert main(words(inputs, tmp_path / "out", tiny_template_file)) == 2
    assert "Another batch works in" in capsys.readouterr().err
    wait_for(lambda: records(tmp_path / "out"))
    batch.send_signal(signal.SIGINT)
    code, told = finish(batch)
    assert code == 130, told
    statuses = [row["status"] for row in rows(tmp_path / "out").values()]
    assert statuses[0] == "done" and "open" in statuses
    assert not list((tmp_path / "out").glob(".tmp-*"))


def test_a_full_disk_fails_the_cases_and_leaves_nothing_behind(tmp_path, tiny_template_file):
    write_patients(tmp_path / "in", 2)
    # Meshes of this size fail, records and tables do not; ulimit counts blocks of 512 or 1024 bytes.
    arguments = tmp_path / "in", tmp_path / "out", tiny_template_file, "--surfaces", ".vtp"
    code, told = finish(start(*arguments, shell="ulimit -f 40"))
    assert code == 1 and "2 failed" in told, told
    for row in rows(tmp_path / "out").values():
        assert row["status"] == "failed" and "disk" in row["message"] and "full" in row["message"]
    assert not list((tmp_path / "out").rglob(".tmp-*"))
    assert main(words(*arguments)) == 0
    assert_all_done_once(tmp_path / "out", 2)


@pytest.fixture
def case(inputs, tmp_path, tiny_template_file):
    options = BatchOptions(template=str(tiny_template_file), preset="draft", device="cpu")
    (tmp_path / "out").mkdir()
    return read_cases(inputs, tmp_path / "out", options)[0]


def test_a_case_that_takes_too_long_or_too_much_memory_is_ended_and_the_next_one_runs(case):
    process = CaseProcess(threads=1)
    try:
        late = process.refine(case, Limits(seconds=0.3))
        assert late["status"] == "failed" and "raise --timeout" in late["message"]
        large = process.refine(case, Limits(memory_bytes=40_000_000))
        assert large["status"] == "failed" and "raise --memory-limit" in large["message"]
        assert process.refine(case, Limits())["status"] == "done"
    finally:
        process.end()


def test_a_case_process_that_dies_is_told_from_one_that_answers(case, monkeypatch):
    process = CaseProcess(threads=1)
    monkeypatch.setenv("PYTHONPATH", str(case.folder))  # a library that cannot be imported
    (case.folder / "numpy.py").write_text("import os; os.kill(os.getpid(), 9)")
    with pytest.raises(CaseProcessLost, match="case00"):
        process.refine(case, Limits())
    monkeypatch.undo()
    assert process.refine(case, Limits())["status"] == "done"
    process.end()


def test_a_case_process_ends_with_its_worker(case):
    code = (
        "import sys, threading; from ReShapeITLib.batch.worker import *; from ReShapeITLib.batch.cases import *\n"
        "case = BatchCase.from_dict(__import__('json').loads(sys.argv[1])); process = CaseProcess(1)\n"
        "threading.Thread(target=process.refine, args=(case, Limits())).start()\n"
        "import time; time.sleep(1); print(process._process.pid, flush=True); time.sleep(60)"
    )
    worker = subprocess.Popen(
        [sys.executable, "-c", code, json.dumps(case.as_dict())], cwd=ROOT, text=True, stdout=subprocess.PIPE
    )
    child = psutil.Process(int(worker.stdout.readline()))
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait()
    worker.stdout.close()
    wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
