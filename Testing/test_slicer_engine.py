"""The background engine on real ``reshapeit refine`` processes."""

from __future__ import annotations

import os
import signal
import sys
import time

import numpy as np
import psutil
import pytest

pytest.importorskip("slicer", reason="the engine belongs to the scene side, which needs slicer-core")

from ReShapeITSlicer.engine import Engine, EngineSettings  # noqa: E402
from ReShapeITSlicer.errors import RefinementError  # noqa: E402
from ReShapeITSlicer.templates import availableTemplates, readTemplate  # noqa: E402

from ReShapeITLib.labels import LabelVolume  # noqa: E402
from ReShapeITLib.volume_io import read_labels, write_labels  # noqa: E402
from Testing.tiny_template import ORGAN, patient  # noqa: E402


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


def test_cancel_ends_the_process_and_its_children(arguments, tmp_path):
    engine = Engine(EngineSettings(environment={"PYTHONPATH": str(parent_of_a_child(tmp_path))}))
    engine.start([*arguments, "cpu"])
    until(engine, lambda status: (tmp_path / "child").exists() and (tmp_path / "child").read_text())
    tree = [psutil.Process(engine.processId), psutil.Process(int((tmp_path / "child").read_text()))]
    assert engine.cancel()
    left = psutil.wait_procs(tree, timeout=1.0)[1]
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


# Runs the command as `python -m` would, on a device that stands for a GPU whose memory holds so many poses at once. The
# library moves the network to its device at each try: to this GPU twice at most, then to the processor.
FULL_GPU = """#!{python}
import runpy, sys
import torch
from ReShapeITLib import device, refine_job
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


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for Python is a script with a first line")
@pytest.mark.parametrize(
    ("device", "most", "told"),
    [
        ("cuda", 1, ["trying again in smaller parts"]),
        ("cuda", 0, ["out of memory); it was started again on the processor, in smaller parts"]),
        ("auto", 0, ["trying again in smaller parts", "going on on the processor"]),
    ],
)
def test_a_full_gpu_is_asked_for_less_and_then_left(arguments, restoration_file, tmp_path, device, most, told):
    program = tmp_path / "python"
    program.write_text(FULL_GPU.format(python=sys.executable, most=most))
    program.chmod(0o755)
    engine = Engine(EngineSettings(str(program), extraArguments=("--restoration", str(restoration_file))))
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


def test_bad_input_gives_the_sentence_of_the_command(arguments, tmp_path):
    (tmp_path / "in.nrrd").unlink()
    engine = Engine()
    engine.start([*arguments, "cpu"])
    status = engine.wait()
    assert status.state == "failed" and "in.nrrd" in status.message and not status.message.startswith("reshapeit")


def test_a_python_without_the_packages_is_told(arguments, tmp_path):
    (tmp_path / "numpy.py").write_text("raise ImportError('no numpy here')")
    engine = Engine(EngineSettings(environment={"PYTHONPATH": str(tmp_path)}))
    engine.start([*arguments, "cpu"])
    status = engine.wait()
    assert status.state == "failed" and "no numpy here" in status.message


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
