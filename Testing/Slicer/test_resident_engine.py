"""The engine that stays, on real processes: refined twice, asked, cancelled, killed and started again."""

from __future__ import annotations

import os
import signal
import sys
import time

import numpy as np
import psutil
import pytest

pytest.importorskip("slicer", reason="the engine belongs to the scene side, which needs slicer-core")

from ReShapeITSlicer.engine import EngineSettings
from ReShapeITSlicer.errors import RefinementError
from ReShapeITSlicer.residentEngine import GONE, ResidentEngine

from ReShapeITLib.core.labels import LabelVolume
from ReShapeITLib.io.volumes import read_labels, write_labels
from Testing.tiny_template import patient

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="signals")


@pytest.fixture(scope="module")
def words(tiny_template_file, tmp_path_factory):
    """Function of a name to the arguments of a refinement of one generated patient."""
    folder = tmp_path_factory.mktemp("resident")
    mask, geometry = patient(np.random.default_rng(11), (4.0, 4.0, 4.0))
    write_labels(LabelVolume.from_array(mask.astype(np.uint8), geometry), folder / "in.nrrd")

    def of(name: str) -> list[str]:
        files = ["refine", str(folder / "in.nrrd"), "--output", str(folder / f"{name}.nrrd")]
        return [*files, "--template", str(tiny_template_file), "--preset", "draft", "--device", "cpu"]

    of.folder = folder
    return of


@pytest.fixture(scope="module")
def resident():
    engine = ResidentEngine()
    yield engine
    engine.close()
    assert engine.processId is None


def refined(resident, arguments):
    run = resident.engine()
    run.start(arguments)
    assert run.wait().state == "done", "\n".join(run.log)
    return run


def until_working(run, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while run.poll().stage not in ("surface", "align", "restore", "fit"):
        assert time.monotonic() < end, run.status
        time.sleep(0.002)


def test_two_refinements_share_a_process_and_answer_afterwards(resident, words):
    first = refined(resident, words("first"))
    second = refined(resident, words("second"))
    assert first.processId == second.processId == resident.processId
    files = [read_labels(words.folder / f"{name}.nrrd").layers[0] for name in ("first", "second")]
    assert np.array_equal(*files)
    for run in (first, second):
        told = run.ask("decide", organ=1, taken=[], output=str(words.folder / "part.nrrd")).wait()
        assert told["volume_ml"] > 0
    with pytest.raises(RefinementError, match="choose from"):
        first.ask("decide", organ="heart", output=str(words.folder / "part.nrrd")).wait()


def test_a_failed_refinement_says_why_and_the_next_one_is_done(resident, words):
    run = resident.engine()
    run.start([*words("third"), "--label", "7"])
    status = run.wait()
    assert status.state == "failed" and status.code == "label.unknown" and "7" in status.message
    refined(resident, words("fourth"))


def test_cancel_leaves_the_process_and_its_results(resident, words):
    before = refined(resident, words("fifth"))
    run = resident.engine()
    run.start(words("sixth"))
    until_working(run)
    assert run.cancel() and run.poll().state == "cancelled"
    told = before.ask("decide", organ=1, output=str(words.folder / "part.nrrd")).wait()
    assert told["volume_ml"] > 0 and resident.processId == before.processId
    assert not (words.folder / "sixth.nrrd").exists()


def test_memory_is_told_and_freed(resident, words):
    run = refined(resident, words("seventh"))
    held = resident.memory().wait()
    assert held["rss_mb"] > 50 and held["runs"]
    assert resident.free().wait()["runs"] == []
    with pytest.raises(RefinementError, match="not in memory any more"):
        run.ask("decide", organ=1, output=str(words.folder / "part.nrrd")).wait()


@posix_only
def test_a_process_that_is_killed_while_it_rests_is_started_again(resident, words):
    run = refined(resident, words("eighth"))
    os.kill(resident.processId, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(run.processId)], timeout=5)
    with pytest.raises(RefinementError) as told:
        answer = run.ask("decide", organ=1, output=str(words.folder / "part.nrrd"))
        answer.wait(5)
    assert str(told.value) == GONE
    assert refined(resident, words("ninth")).processId != run.processId


@posix_only
def test_a_run_whose_process_is_killed_fails_with_a_sentence_and_the_next_one_is_done(resident, words):
    run = resident.engine()
    run.start(words("tenth"))
    until_working(run)
    os.kill(run.processId, signal.SIGKILL)
    status = run.wait()
    assert status.state == "failed" and status.code == "engine.crashed" and "ended unexpectedly" in status.message
    assert not (words.folder / "tenth.nrrd").exists()
    refined(resident, words("eleventh"))


@posix_only
def test_a_killed_run_that_may_change_the_device_is_tried_once_more(resident, words):
    arguments = words("twelfth")
    run = resident.engine()
    run.start(arguments[: arguments.index("--device")])
    until_working(run)
    os.kill(run.processId, signal.SIGKILL)
    assert run.wait().state == "done" and "started again on the processor" in run.notices[0]


def test_a_python_that_cannot_be_started_is_told(words):
    with pytest.raises(RefinementError, match="cannot be started"):
        ResidentEngine(EngineSettings(pythonExecutable="/nowhere/python")).engine().start(words("none"))


@posix_only
def test_the_process_ends_when_its_stdin_closes(words):
    engine = ResidentEngine()
    process = psutil.Process(refined(engine, words("last")).processId)
    engine._process.popen.stdin.close()
    assert not psutil.wait_procs([process], timeout=5)[1] or process.status() == psutil.STATUS_ZOMBIE
    engine.close()
