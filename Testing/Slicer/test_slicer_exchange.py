"""What becomes of a run's files and words in a scene: names, leftovers, failed imports, consent, the log."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="the scene side needs slicer-core")

import ReShapeITSlicer
from ReShapeITSlicer.console import ReShapeITLogic
from ReShapeITSlicer.engine import EngineSettings
from ReShapeITSlicer.errors import RefinementError
from ReShapeITSlicer.exchange.exchange import Exchange
from ReShapeITSlicer.exchange.folders import MARKER, removeLeftovers
from ReShapeITSlicer.geometry import Grid
from ReShapeITSlicer.options import RefinementOptions
from ReShapeITSlicer.refinement import RefinementTask
from ReShapeITSlicer.segmentVoxels import newSegment
from ReShapeITSlicer.wording import REFINE_EVEN_IF, Told, inWords

from ReShapeITLib.core.geometry import ImageGeometry
from Testing.Slicer.scene import new_scene
from Testing.tiny_template import SIZE_MM, ellipsoid_mask, with_licence

DRAFT = RefinementOptions(preset="draft", device="cpu", force=True)


@pytest.fixture
def world(tmp_path):
    return new_scene(tmp_path)


def segmentation_of(world, *names: str | None):
    """A segmentation with an organ for each name, in layers of their own; ids are "a", "b" ..."""
    size = np.ceil(2 * (SIZE_MM + 12) / 5.0).astype(int)
    geometry = ImageGeometry.from_parts([size] * 3, (5.0, 5.0, 5.0), [-2.5 * size] * 3)
    grid = Grid(np.asarray(geometry.ijk_to_ras), (0, 0, 0), geometry.size_ijk)
    node = world.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "organs")
    for segmentId, name in zip("abc", names, strict=False):
        source = slicer.vtkSegment()
        if name is not None:
            source.SetName(name)
        mask = ellipsoid_mask(geometry, np.zeros(3), SIZE_MM * np.array([1.0, 0.7, 0.5]))
        newSegment(node.GetSegmentation(), source, segmentId, mask, grid)
        node.GetSegmentation().GetSegment(segmentId).SetName(name)
    return node


def nodes_of(world) -> list[str]:
    return [world.scene.GetNthNode(index).GetID() for index in range(world.scene.GetNumberOfNodes())]


def test_what_the_engine_says_of_a_label_is_said_of_the_segment():
    told = Told(
        "implausible",
        "Label 'organ1' of x does not look like liver",
        "use --force",
        "{subject} does not look like {organ}: {problems}",
        "check label and template, or use --force",
        {"subject": "label 'organ1' of x", "label": "organ1", "input": "x", "organ": "liver", "problems": "is {odd}"},
    )
    words = inWords(told, {"organ1": "My 'organ1' {liver}"})
    assert words.startswith("Segment 'My 'organ1' {liver}' does not look like liver: is {odd}; check segment")
    assert "--force" not in words and words.endswith("(in scripts force=True).")
    panel = Path(ReShapeITSlicer.__file__).parents[1] / "Resources" / "UI" / "ReShapeIT.ui"
    assert f"<string>{REFINE_EVEN_IF}</string>" in panel.read_text(encoding="utf-8")


def test_what_the_engine_says_without_fields_stays_as_it_is():
    assert inWords(Told("bad_input", "a{b} --force label 'organ1'."), {"organ1": "x"}) == "A{b} --force label 'organ1'."
    assert inWords(Told("disk_full", "The disk is full (x)", "free some")) == (
        "The disk with the temporary files is full; free some space or choose another temporary folder."
    )
    assert inWords(Told("device.unusable", "m", "h", "t", "u", {})).startswith("M; choose another device")


def test_the_library_and_the_slicer_side_mean_the_same_codes():
    from ReShapeITSlicer import engine, wording

    import ReShapeITLib
    from ReShapeITLib.core import errors

    assert engine.OUT_OF_MEMORY == errors.OUT_OF_MEMORY
    codes = {errors.CANNOT_WRITE, errors.DISK_FULL, errors.DEVICE_UNUSABLE, errors.MISSING_PACKAGE}
    codes |= {errors.NON_COMMERCIAL, errors.OUT_OF_MEMORY, errors.ImplausibleError.code}
    assert codes <= set(wording.HINTS)
    source = "".join(path.read_text(encoding="utf-8") for path in Path(ReShapeITLib.__file__).parent.rglob("*.py"))
    assert all(f'"{code}"' in source for code in {*wording.HINTS, *wording.MESSAGES})


def test_segments_without_a_name_and_with_the_same_name_are_refined_and_told_apart(world, tiny_template_file):
    node = segmentation_of(world, None, "organ", "organ")
    templates = dict.fromkeys("abc", str(tiny_template_file))
    task = RefinementTask(world.scene, node, templates, DRAFT)
    task.start()
    assert task.wait().state == "done", task.status.message
    assert [(row.segmentId, row.name[:5]) for row in task.summary()] == [("a", "a"), ("b", "organ"), ("c", "organ")]
    assert task.log.startswith("$ ") and "Python 3." in task.log and task.log.endswith("exit code 0")
    told = Told("label.empty", "m", "h", "{subject} is empty", "h", {"subject": "x", "label": "organ3"})
    assert Exchange(node, templates).inWords(told).startswith("Segment 'organ (c)' is empty")


def test_the_console_names_segments_without_a_name_by_id(world):
    node = segmentation_of(world, None, "organ", "organ")
    with pytest.raises(RefinementError, match=r"no segment 'x'; .* names: a, organ \(b\), organ \(c\)"):
        ReShapeITLogic(world.scene).refine(node, {"x": "liver"})


# An engine that gives back what it is given, with a report that lacks everything.
DAMAGED_REPORT = """#!{python} -S
import shutil, sys
words = sys.argv
shutil.copy(words[words.index("refine") + 1], words[words.index("--output") + 1])
open(words[words.index("--report") + 1], "w").write('{{"organs": [{{}}]}}')
print('{{"result": {{}}}}')
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for Python is a script with a first line")
def test_any_exception_of_the_import_fails_the_task_and_leaves_the_scene(world, tiny_template_file, tmp_path):
    node, program = segmentation_of(world, "organ"), tmp_path / "python"
    program.write_text(DAMAGED_REPORT.format(python=sys.executable))
    program.chmod(0o755)
    before = nodes_of(world)
    settings = EngineSettings(str(program), temporaryFolder=str(tmp_path))
    task = RefinementTask(world.scene, node, {"a": str(tiny_template_file)}, DRAFT, engineSettings=settings)
    assert task.log == ""
    task.start()
    status = task.wait()
    assert (status.state, status.code) == ("failed", "import") and status.message.count(".") == 1
    assert "label" not in status.message and "KeyError: 'label'" in task.log
    assert nodes_of(world) == before and node.GetSegmentation().GetNumberOfSegments() == 1
    assert not list(tmp_path.glob("reshapeit-*"))


def test_a_file_that_is_still_held_is_removed_a_little_later_without_a_wait(world, tmp_path, monkeypatch):
    node = segmentation_of(world, "organ")
    files = Exchange(node, {"a": "liver"}, temporaryFolder=str(tmp_path))
    files.write()
    (folder,) = tmp_path.glob("reshapeit-*")
    unlink, released = Path.unlink, threading.Event()

    def held(path, *options):
        if not released.is_set():
            raise PermissionError(13, "used by another process", str(path))
        unlink(path, *options)

    monkeypatch.setattr(Path, "unlink", held)
    files.remove()  # returns while the files are held
    assert folder.exists() and (folder / MARKER).exists()
    released.set()
    end = time.monotonic() + 10
    while folder.exists():
        assert time.monotonic() < end
        time.sleep(0.02)


def leftover(folder: Path, name: str, pid: int, host: str = socket.gethostname(), days: float = 0.0) -> Path:
    """A folder as a run leaves it that could not remove it."""
    left = folder / name
    left.mkdir()
    (left / "input.seg.nrrd").write_text("a patient")
    (left / MARKER).write_text(json.dumps({"pid": pid, "host": host}))
    then = time.time() - days * 24 * 3600
    os.utime(left / MARKER, (then, then))
    return left


def test_leftovers_of_earlier_sessions_are_removed_and_nothing_else(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    removed = [
        leftover(tmp_path, "reshapeit-gone", gone.pid),
        leftover(tmp_path, "reshapeit-old", os.getppid(), days=1.1),
        leftover(tmp_path, "reshapeit-elsewhere-old", 1, host="another", days=1.1),
    ]
    kept = [
        leftover(tmp_path, "reshapeit-running", os.getpid()),
        leftover(tmp_path, "reshapeit-elsewhere", gone.pid, host="another"),
        leftover(tmp_path, "other-gone", gone.pid),
    ]
    unmarked = leftover(tmp_path, "reshapeit-unmarked", gone.pid)
    (unmarked / MARKER).unlink()
    broken = leftover(tmp_path, "reshapeit-broken", gone.pid)
    (broken / MARKER).write_text('{"pid": "x"')
    (tmp_path / "reshapeit-link").symlink_to(kept[2], target_is_directory=True)
    assert removeLeftovers(str(tmp_path)) == len(removed)
    assert not any(path.exists() for path in removed)
    assert all((path / "input.seg.nrrd").exists() for path in (*kept, unmarked, broken))
    assert removeLeftovers(str(tmp_path / "absent")) == 0


def test_a_run_of_this_process_is_no_leftover_however_long_it_takes(world, tmp_path):
    files = Exchange(segmentation_of(world, "organ"), {"a": "liver"}, temporaryFolder=str(tmp_path))
    files.write()
    (folder,) = tmp_path.glob("reshapeit-*")
    os.utime(folder / MARKER, (0, 0))
    assert removeLeftovers(str(tmp_path)) == 0 and (folder / "input.seg.nrrd").exists()
    files.remove()
    assert not folder.exists()


def test_a_folder_that_could_not_be_emptied_keeps_its_marker_for_the_next_session(tmp_path, monkeypatch):
    left = leftover(tmp_path, "reshapeit-held", 1, days=2)
    monkeypatch.setattr(Path, "unlink", lambda path, *options: (_ for _ in ()).throw(PermissionError(13, "held")))
    assert removeLeftovers(str(tmp_path)) == 0
    monkeypatch.undo()
    assert (left / MARKER).exists() and removeLeftovers(str(tmp_path)) == 1


def test_the_console_takes_a_temporary_folder_and_a_word_for_non_commercial_use(world, tiny_template_file, tmp_path):
    node, folder = segmentation_of(world, "organ"), tmp_path / "application's"
    template = with_licence(tiny_template_file, "CC BY-NC-SA 4.0", tmp_path / "nc.safetensors")
    logic, templates = ReShapeITLogic(world.scene, temporaryFolder=str(folder)), {"organ": str(template)}
    options = {"preset": "draft", "device": "cpu", "progress": None}
    with pytest.raises(RefinementError) as refused:
        logic.refine(node, templates, **options)
    text = str(refused.value)
    assert refused.value.code == "licence.non_commercial" and text.count(". ") == 0 and text.endswith(".")
    assert all(words in text for words in ("template nc", "CC BY-NC-SA 4.0", "nonCommercial=True"))
    with pytest.raises(RefinementError, match="Temporary files cannot be written .*application's"):
        logic.refine(node, templates, **options, nonCommercial=True)
    folder.mkdir()
    task = logic.refine(node, templates, **options, nonCommercial=True)
    assert any("non-commercial use only" in notice for notice in task.notices)
    assert str(folder) in task.log and not list(folder.iterdir())
    other = EngineSettings(temporaryFolder=str(tmp_path / "other"))
    with pytest.raises(RefinementError, match="other"):
        logic.refine(node, templates, **options, nonCommercial=True, engineSettings=other)


def test_a_non_commercial_network_wants_an_explicit_word(world, tiny_template_file, restoration_file, tmp_path):
    from dataclasses import replace

    from ReShapeITLib.restoration.model import RestorationModel

    model = RestorationModel.load(restoration_file)
    replace(model, info=replace(model.info, licence="CC BY-NC-SA 4.0")).save(tmp_path / "network.safetensors")
    settings = EngineSettings(extraArguments=("--restoration", str(tmp_path / "network.safetensors")))
    node = segmentation_of(world, "organ")
    with pytest.raises(RefinementError, match="network network.*; confirm .*nonCommercial=True") as refused:
        ReShapeITLogic(world.scene).refine(node, {"a": str(tiny_template_file)}, None, engineSettings=settings)
    assert refused.value.code == "licence.non_commercial"


def test_options_say_the_word_to_the_command():
    assert "--non-commercial" not in RefinementOptions().arguments()
    assert "--non-commercial" in RefinementOptions(nonCommercial=True).arguments()
