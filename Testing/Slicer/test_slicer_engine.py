"""The background engine on real ``reshapeit refine`` processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

pytest.importorskip("slicer", reason="the engine belongs to the scene side, which needs slicer-core")

from ReShapeITSlicer import engine as engine_module
from ReShapeITSlicer import processTree
from ReShapeITSlicer.engine import Engine, EngineSettings
from ReShapeITSlicer.errors import RefinementError
from ReShapeITSlicer.templates import availableTemplates, readTemplate

from ReShapeITLib.core.labels import LabelVolume
from ReShapeITLib.io.volumes import read_labels, write_labels
from Testing.Slicer.launcher import python_launcher
from Testing.tiny_template import ORGAN, patient

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for Python is a script with a first line")


@pytest.fixture
def arguments(tiny_template_file, tmp_path):
    """Arguments of a refinement of one generated patient, to be followed by a device."""
    mask, geometry = patient(np.random.default_rng(11), (4.0, 4.0, 4.0))
    write_labels(LabelVolume.from_array(mask.astype(np.uint8), geometry), tmp_path / "in.nrrd")
    files = [str(tmp_path / "in.nrrd"), "--output", str(tmp_path / "out.nrrd")]
    return ["refine", *files, "--template", str(tiny_template_file), "--preset", "draft", "--device"]


def until(engine: Engine, condition, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition(engine.poll()):
        assert time.monotonic() < end, engine.status
        time.sleep(0.02)


def test_a_run_tells_its_stages_and_writes_its_file(arguments, tmp_path):
    engine, seen = Engine(), []
    engine.start([*arguments, "cpu"])
    status = engine.wait(seen.append)
    assert (status.state, status.fraction, engine.notices) == ("done", 1.0, ())
    fractions = [told.fraction for told in seen]
    assert fractions == sorted(fractions) and {told.state for told in seen} == {"running"}
    assert read_labels(tmp_path / "out.nrrd").mask(1).any()
    command, version, *_, last = engine.log
    assert command.startswith("$ ") and str(tmp_path / "in.nrrd") in command and "Python 3." in version
    assert last == "exit code 0"


def test_cancel_ends_the_process_and_its_children(arguments, tmp_path):
    engine = Engine(EngineSettings(environment={"PYTHONPATH": str(parent_of_a_child(tmp_path))}))
    engine.start([*arguments, "cpu"])
    until(engine, lambda status: (tmp_path / "child").exists() and (tmp_path / "child").read_text())
    tree = [psutil.Process(engine.processId), psutil.Process(int((tmp_path / "child").read_text()))]
    assert engine.cancel()
    left = psutil.wait_procs(tree, timeout=30.0)[1]
    assert not [process for process in left if process.status() != psutil.STATUS_ZOMBIE]
    assert engine.poll().state == "cancelled" and not (tmp_path / "out.nrrd").exists()


def parent_of_a_child(folder):
    """A folder whose sitecustomize starts a sleeping child with a session of its own in every Python."""
    code = (
        "import subprocess, pathlib\n"
        f"marker = pathlib.Path({str(folder / 'child')!r})\n"
        "if not marker.exists():\n"
        "    marker.touch()\n"
        "    marker.write_text(str(subprocess.Popen(['sleep', '600'], start_new_session=True).pid))\n"
    )
    (folder / "site").mkdir()
    (folder / "site" / "usercustomize.py").write_text(code)
    (folder / "site" / "sitecustomize.py").write_text(code)
    return folder / "site"


def test_a_killed_process_is_started_again_on_the_processor(arguments, tmp_path):
    engine = Engine()
    engine.start([*arguments, "auto"])
    until(engine, lambda status: status.stage)
    os.kill(engine.processId, signal.SIGKILL)
    assert engine.wait().state == "done"
    assert ["started again on the processor" in told for told in engine.notices] == [True]
    assert (tmp_path / "out.nrrd").exists()


def child_of(engine: Engine) -> psutil.Process:
    """The Python that the launcher runs, as soon as it is there."""
    found = []

    def there(status) -> bool:
        found[:] = psutil.Process(engine.processId).children()
        return bool(found)

    until(engine, there)
    return found[0]


@posix_only
def test_a_process_killed_under_the_launcher_is_started_again_on_the_processor(arguments, tmp_path):
    engine = Engine(EngineSettings(python_launcher(tmp_path)))
    engine.start([*arguments, "auto"])
    until(engine, lambda status: status.stage)
    child_of(engine).kill()
    assert engine.wait().state == "done", engine.status.message
    assert ["started again on the processor" in told for told in engine.notices] == [True]
    assert any("exit abnormally" in line for line in engine.log) and engine.log.count("exit code 1") == 1
    again = [line for line in engine.log if line.startswith("$ ")][1]
    assert "--device cpu --low-memory" in again


@posix_only
def test_a_process_killed_under_the_launcher_on_the_processor_fails_with_one_sentence_of_ours(arguments, tmp_path):
    engine = Engine(EngineSettings(python_launcher(tmp_path)))
    engine.start([*arguments, "cpu"])
    until(engine, lambda status: status.stage)
    child_of(engine).kill()
    status = engine.wait()
    assert (status.state, status.code, engine.notices) == ("failed", "engine.crashed", ())
    assert "ended unexpectedly" in status.message and status.message.endswith("the log has the details.")
    assert "abnormally" not in status.message


@posix_only
def test_cancel_ends_the_launcher_and_its_child(arguments, tmp_path):
    engine = Engine(EngineSettings(python_launcher(tmp_path)))
    engine.start([*arguments, "cpu"])
    tree = [psutil.Process(engine.processId), child_of(engine)]
    assert engine.cancel()
    left = psutil.wait_procs(tree, timeout=30.0)[1]
    assert not [process for process in left if process.status() != psutil.STATUS_ZOMBIE]
    assert engine.poll().state == "cancelled"


@posix_only
def test_a_python_without_the_packages_is_told_under_the_launcher(arguments, tmp_path):
    (tmp_path / "numpy.py").write_text("raise ModuleNotFoundError('No module named numpy', name='numpy')")
    engine = Engine(EngineSettings(python_launcher(tmp_path), environment={"PYTHONPATH": str(tmp_path)}))
    engine.start([*arguments, "auto"])
    status = engine.wait()
    assert (status.state, status.code) == ("failed", "missing_package")
    assert "package numpy is missing" in status.message and "press Install" in status.message


def stand_in(folder, *lines: str, code: int = 0) -> EngineSettings:
    """Settings with a program that writes lines to stdout, or where they begin with "!" to stderr, and ends."""
    program = folder / "python"
    streams = {True: "stderr", False: "stdout"}
    said = "".join(f"print({line.lstrip('!')!r}, file=sys.{streams[line[0] == '!']})\n" for line in lines)
    program.write_text(f"#!{sys.executable} -S\nimport sys\n{said}sys.exit({code})\n")
    program.chmod(0o755)
    return EngineSettings(str(program))


STARTED = '{"started": {"version": "0.1.0", "python": "3.12.10"}}'


@posix_only
def test_a_traceback_is_kept_in_the_log_and_never_shown(tmp_path):
    engine = Engine(stand_in(tmp_path, STARTED, "!Traceback (most recent call last):", "!ValueError: x = 7", code=1))
    engine.start(["refine", "--device", "cpu"])
    status = engine.wait()
    assert status.state == "failed" and "ValueError" not in status.message and "the log has" in status.message
    assert "ReShapeITLib 0.1.0, Python 3.12.10" in engine.log and engine.log[-1] == "exit code 1"
    assert engine.log.index("Traceback (most recent call last):") + 1 == engine.log.index("ValueError: x = 7")


@posix_only
def test_an_end_without_a_result_is_no_success_and_a_result_is_one_whatever_comes_after(tmp_path):
    for lines, code, state in (
        ((STARTED,), 0, "failed"),
        ((STARTED, '{"result": {}}'), 1, "done"),
        ((STARTED, "7", "[]", '{"stage": 3}', '{"result": {}}'), 0, "done"),
    ):
        engine = Engine(stand_in(tmp_path, *lines, code=code))
        engine.start(["refine", "--device", "cpu"])
        assert engine.wait().state == state, lines


@posix_only
def test_a_python_that_lacks_the_library_is_told_as_such(tmp_path):
    engine = Engine(stand_in(tmp_path, "!No module named 'ReShapeITLib'", code=1))
    engine.start(["refine", "--device", "cpu"])
    status = engine.wait()
    assert status.code == "engine.not_started" and "install it again" in status.message
    assert "No module named" not in status.message and "No module named 'ReShapeITLib'" in engine.log


@posix_only
def test_out_of_memory_on_the_processor_is_tried_again_with_less_once(tmp_path):
    error = '{"error": {"code": "out_of_memory", "message": "There is too little free memory", "hint": "close others"}}'
    engine = Engine(stand_in(tmp_path, STARTED, error, code=1))
    engine.start(["refine", "--device", "cpu"])
    status = engine.wait()
    assert (status.state, status.code) == ("failed", "out_of_memory")
    assert status.message == "There is too little free memory; close other programs or use a draft."
    assert ["--low-memory" in line for line in engine.log if line.startswith("$ ")] == [False, True]


def test_children_open_no_window_on_windows(monkeypatch):
    monkeypatch.setattr(processTree, "sys", SimpleNamespace(platform="win32"))
    asked = []
    monkeypatch.setattr(processTree.subprocess, "Popen", lambda command, **options: asked.append(options))
    processTree.startProcess(["python"], {})
    assert asked[0]["creationflags"] == 0x08000000 | 0x00000200 and "start_new_session" not in asked[0]
    assert processTree.quietProcess() == {"creationflags": 0x08000000}
    monkeypatch.setattr(processTree, "sys", SimpleNamespace(platform="darwin"))
    assert processTree.quietProcess() == {} and processTree.quietProcess(ownGroup=True) == {"start_new_session": True}


@posix_only
def test_a_taskkill_that_hangs_does_not_keep_a_cancelled_run_open(arguments, tmp_path, monkeypatch):
    engine, asked = Engine(EngineSettings(python_launcher(tmp_path))), []
    engine.start([*arguments, "cpu"])
    tree = [psutil.Process(engine.processId), child_of(engine)]

    def hangs(command, timeout, **options):
        asked.append((command[0], options["creationflags"]))
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(processTree, "sys", SimpleNamespace(platform="win32"))
    monkeypatch.setattr(processTree.subprocess, "run", hangs)
    engine.cancel()
    assert asked == [("taskkill", 0x08000000)]
    assert engine.poll().state == "cancelled"
    left = psutil.wait_procs(tree, timeout=30.0)[1]
    assert not [process for process in left if process.status() != psutil.STATUS_ZOMBIE]


@posix_only
def test_a_group_that_macos_will_not_signal_is_ended_one_by_one(arguments, tmp_path, monkeypatch):
    engine = Engine(EngineSettings(python_launcher(tmp_path)))
    engine.start([*arguments, "cpu"])
    tree = [psutil.Process(engine.processId), child_of(engine)]

    def not_permitted(group, number):
        raise PermissionError(1, "Operation not permitted")  # so it is where one of the group is a zombie

    monkeypatch.setattr(processTree, "sys", SimpleNamespace(platform="darwin"))
    monkeypatch.setattr(processTree.os, "killpg", not_permitted)
    assert engine.cancel() and engine.status.state == "cancelled"
    left = psutil.wait_procs(tree, timeout=30.0)[1]
    assert not [process for process in left if process.status() != psutil.STATUS_ZOMBIE]


def test_a_run_counts_as_cancelled_whatever_goes_wrong_with_ending_it(arguments, monkeypatch):
    engine = Engine()
    engine.start([*arguments, "cpu"])

    def fails(process):
        raise RuntimeError("the operating system is odd")

    monkeypatch.setattr(engine_module, "killTree", fails)
    assert not engine.cancel()
    assert engine.poll().state == "cancelled" and "the operating system is odd" in "\n".join(engine.log)
    monkeypatch.undo()
    processTree.killTree(engine._process)


# Runs the command as `python -m` would, on a device that stands for a GPU whose memory holds so many poses at once. The
# library moves the network to its device at each try: to this GPU twice at most, then to the processor.
FULL_GPU = """#!{python}
import runpy, sys
import torch
from ReShapeITLib.core import device
from ReShapeITLib.job import job as refine_job
from ReShapeITLib.restoration.model import RestorationModel
from ReShapeITLib.restoration.network import RestorationNetwork

tries, move, answer = [], RestorationModel.to, RestorationNetwork.forward

def counted(model, name):
    tries.append(name)
    return move(model, name)

def forward(network, given, *others):
    if "--low-memory" not in sys.argv and len(tries) < 3 and len(given) > {most}:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.")
    return answer(network, given, *others)

RestorationModel.to, RestorationNetwork.forward = counted, forward
refine_job.choose_device = lambda wanted: device.Device("cpu", "stands for a GPU")
sys.argv = ["reshapeit", *sys.argv[3:]]
runpy.run_module("ReShapeITLib.cli.main", run_name="__main__")
"""


@posix_only
@pytest.mark.parametrize(
    ("device", "most", "launched", "told"),
    [
        ("cuda", 1, False, ["trying again in smaller parts"]),
        ("cuda", 0, True, ["out of memory); it was started again on the processor, in smaller parts"]),
        ("auto", 0, False, ["trying again in smaller parts", "going on on the processor"]),
    ],
)
def test_a_full_gpu_is_asked_for_less_and_then_left(
    arguments, restoration_file, tmp_path, device, most, launched, told
):
    program = tmp_path / "python"
    program.write_text(FULL_GPU.format(python=sys.executable, most=most))
    program.chmod(0o755)
    started = python_launcher(tmp_path, str(program)) if launched else str(program)
    engine = Engine(EngineSettings(started, extraArguments=("--restoration", str(restoration_file))))
    engine.start([*arguments, device])
    assert engine.wait().state == "done", engine.status.message
    assert len(engine.notices) == len(told)
    assert all(words in notice for words, notice in zip(told, engine.notices, strict=True)), engine.notices
    assert read_labels(tmp_path / "out.nrrd").mask(1).any()


def test_a_process_killed_on_the_processor_fails_with_one_sentence(arguments):
    engine = Engine()
    engine.start([*arguments, "cpu"])
    os.kill(engine.processId, signal.SIGKILL)
    status = engine.wait()
    assert status.state == "failed" and "killed" in status.message and engine.notices == ()


def test_a_child_that_outlives_a_killed_process_does_not_keep_the_run_open(arguments, tmp_path):
    engine = Engine(EngineSettings(environment={"PYTHONPATH": str(parent_of_a_child(tmp_path))}))
    engine.start([*arguments, "cpu"])
    until(engine, lambda status: (tmp_path / "child").exists() and (tmp_path / "child").read_text())
    os.kill(engine.processId, signal.SIGKILL)
    assert engine.wait().state == "failed"
    psutil.Process(int((tmp_path / "child").read_text())).kill()  # in a session of its own nobody else finds it


def test_bad_input_gives_one_sentence_and_the_log_has_the_commands_own(arguments, tmp_path):
    (tmp_path / "in.nrrd").unlink()
    engine = Engine()
    engine.start([*arguments, "cpu"])
    status = engine.wait()
    assert (status.state, status.code) == ("failed", "input.missing")
    assert "segmentation is missing" in status.message and any("in.nrrd" in line for line in engine.log[1:])


def test_a_python_without_the_packages_is_told(arguments, tmp_path):
    (tmp_path / "numpy.py").write_text("raise ImportError('no numpy here')")
    engine = Engine(EngineSettings(environment={"PYTHONPATH": str(tmp_path)}))
    engine.start([*arguments, "cpu"])
    status = engine.wait()
    assert (status.state, status.code) == ("failed", "missing_package") and "no numpy here" in status.message


def test_a_missing_python_is_told_at_the_start(arguments):
    with pytest.raises(RefinementError, match="nowhere"):
        Engine(EngineSettings(pythonExecutable="/nowhere/python")).start(arguments)


def test_templates_are_read_without_torch(tiny_template_file):
    choice = readTemplate(tiny_template_file)
    assert (choice.name, choice.organ, choice.licence, choice.nonCommercial) == (ORGAN, ORGAN, "CC0-1.0", False)
    with pytest.raises(RefinementError, match="not a template"):
        readTemplate(sys.executable)
    lobes = [choice for choice in availableTemplates() if choice.name.startswith("lung")]
    assert all(choice.nonCommercial for choice in lobes)
