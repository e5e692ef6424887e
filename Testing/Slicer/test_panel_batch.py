"""The batch section of the panel: the command's own run and table, a review with keys, nothing lost."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest

pytest.importorskip("slicer", reason="the panel's tests need slicer-core")
pytest.importorskip("PySide6", reason="the panel's tests need PySide6-Essentials")
pytest.importorskip("distributed", reason="needs dask: pip install 'ReShapeITLib[batch]'")

from ReShapeITLib.batch.cases import BatchOptions, read_cases
from ReShapeITLib.batch.decisions import read_rows
from ReShapeITLib.batch.records import DONE, REFUSED, fingerprint, write_record
from ReShapeITLib.batch.table import write_tables
from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.core.labels import LabelVolume
from ReShapeITLib.io.volumes import read_labels, write_labels
from ReShapeITLib.review.sources import find_cases
from Testing.Unit.test_batch import write_patients

SHAPE = (20, 24, 28)
ORGAN = {"label": 1, "organ": "liver", "added_ml": 1.0, "removed_ml": 0.5, "dsc_to_input": 0.98}


@pytest.fixture
def panel(application):
    """The panel, opened, with the batch section."""
    return application.open().panel


def box(lower: int, upper: int) -> LabelVolume:
    """A box of voxels of 2 mm with label 1."""
    voxels = np.zeros(SHAPE, np.uint8)
    voxels[5:15, 6:18, lower:upper] = 1
    return LabelVolume.from_array(voxels, ImageGeometry(np.diag([2.0, 2.0, 2.0, 1.0]), SHAPE[::-1]))


@pytest.fixture
def finished(tmp_path):
    """Folder of a batch that the command line ended: two results and a refused case."""
    given, out = tmp_path / "in", tmp_path / "out"
    given.mkdir()
    out.mkdir()
    for name in ("a", "b", "c"):
        write_labels(box(8, 20), given / f"{name}.nii.gz")
    cases = read_cases(given, out, BatchOptions(template="liver"))
    for case in cases[:2]:
        write_labels(box(8, 24), case.output)
        record = {"status": DONE, "message": "", "fingerprint": fingerprint(case), "seconds": 1.0, "organs": [ORGAN]}
        write_record(case, record)
    write_record(cases[2], {"status": REFUSED, "message": "too small", "fingerprint": fingerprint(cases[2])})
    write_tables(out, cases)
    return out


def press(panel, key: str) -> None:
    """A key while the table of the batch has the focus."""
    from PySide6.QtTest import QTest

    from Testing.Slicer.pythonqt import unwrapped

    table = unwrapped(panel.ui.batchTable)
    table.activateWindow()
    table.setFocus()
    QTest.qWait(20)
    QTest.keyClick(table, key)


def cells(panel, column: int) -> list[str]:
    table = panel.ui.batchTable
    return [table.item(row, column).text() for row in range(table.rowCount)]


def shown(application, panel):
    application.wait(lambda: not panel.batch._rest.active)
    return panel.batch.shown.segmentationNode


def test_results_of_the_command_line_are_opened_for_review(application, panel, finished):
    panel.ui.batchOutputEdit.text = str(finished)
    assert cells(panel, 0) == ["a", "b", "c"] and cells(panel, 2) == ["refined", "refined", "refused"]
    assert cells(panel, 6) == ["to decide", "to decide", ""] and not panel.ui.batchAcceptButton.enabled
    panel.ui.batchNextButton.click()
    node = shown(application, panel)
    masks = {name: application.mask(node, name, _grid()) for name in ("given", "refined")}
    assert masks["given"].sum() == 10 * 12 * 12 and masks["refined"].sum() == 10 * 12 * 16
    assert panel.batch.secondsOfLast < 2.0
    panel.ui.batchNextButton.click()
    assert shown(application, panel).GetName() == "b: liver"
    assert application.scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1
    assert application.slot_errors() == []


def test_keys_decide_and_go_on_and_the_table_has_it_at_once(application, panel, finished):
    from PySide6.QtCore import Qt

    panel.ui.batchCollapsibleButton.collapsed = False
    application.open().parent.show()
    panel.ui.batchOutputEdit.text = str(finished)
    for key in (Qt.Key_N, Qt.Key_A, Qt.Key_R):
        press(panel, key)
    assert [row["decision"] for row in read_rows(finished)] == ["accepted", "rejected", ""]
    assert [case.decision for case in find_cases(finished)] == ["accepted", "rejected", ""]
    press(panel, Qt.Key_P)
    press(panel, Qt.Key_Backspace)
    assert [row["decision"] for row in read_rows(finished)] == ["", "rejected", ""]
    assert application.slot_errors() == []


def test_closing_the_scene_keeps_decisions_and_the_review_goes_on(application, panel, finished):
    panel.ui.batchOutputEdit.text = str(finished)
    panel.ui.batchNextButton.click()
    shown(application, panel)
    panel.ui.batchAcceptButton.click()
    application.close_scene()
    assert panel.batch.shown.segmentationNode is None
    assert read_rows(finished)[0]["decision"] == "accepted"
    panel.ui.batchPreviousButton.click()
    panel.ui.batchNextButton.click()
    assert shown(application, panel) is not None and application.slot_errors() == []


def test_a_result_that_is_gone_is_told_in_one_sentence(application, panel, finished):
    (finished / "a.nii.gz").unlink()
    panel.ui.batchOutputEdit.text = str(finished)
    panel.ui.batchNextButton.click()
    assert shown(application, panel) is None
    assert "a.nii.gz" in panel.ui.batchStatusLabel.text and application.slot_errors() == []


def test_packages_of_a_batch_are_installed_only_after_a_yes(application, panel, tmp_path, monkeypatch):
    from ReShapeITPanel.dependencies import Missing

    monkeypatch.setattr(panel.batch, "_problem", lambda: "")
    object.__setattr__(panel.batch._environment, "missing", lambda: Missing(["distributed>=2024.2"]))
    application.answer = False
    panel.ui.batchSourceEdit.text, panel.ui.batchOutputEdit.text = str(tmp_path), str(tmp_path / "out")
    panel.ui.batchStartButton.click()
    assert "distributed>=2024.2" in application.dialogs[-1] and not panel.batch.isRunning


def test_a_batch_is_stopped_goes_on_and_ends_as_on_the_command_line(
    application, panel, tmp_path, tiny_template_file, monkeypatch
):
    write_patients(tmp_path / "in", 2)
    monkeypatch.setattr(panel.batch, "_problem", lambda: "")
    box_ = panel.ui.batchTemplateComboBox
    box_.addItem("tiny", str(tiny_template_file))
    box_.currentIndex = box_.count - 1
    panel.ui.batchSourceEdit.text, panel.ui.batchOutputEdit.text = str(tmp_path / "in"), str(tmp_path / "out")
    panel.ui.batchStartButton.click()
    application.wait(lambda: cells(panel, 2) == ["waiting", "waiting"])
    panel.ui.batchCancelButton.click()
    application.wait(lambda: not panel.batch.isRunning)
    assert "Start it again" in panel.ui.batchStatusLabel.text
    panel.ui.batchStartButton.click()
    application.wait(lambda: not panel.batch.isRunning)
    assert "2 done" in panel.ui.batchStatusLabel.text, panel.batch._log
    assert cells(panel, 2) == ["refined", "refined"]
    assert read_labels(tmp_path / "out" / "case00.nii.gz").label_values()
    assert not list((tmp_path / "out").glob(".tmp-*")) and application.slot_errors() == []


def test_a_batch_that_is_killed_tells_it_and_is_not_started_with_other_options(
    application, panel, tmp_path, monkeypatch
):
    monkeypatch.setattr(panel.batch, "_problem", lambda: "")
    write_labels(box(8, 20), tmp_path / "a.nii.gz")
    panel.ui.batchSourceEdit.text, panel.ui.batchOutputEdit.text = str(tmp_path), str(tmp_path / "out")
    panel.ui.batchStartButton.click()
    os.killpg(panel.batch.run.processId, signal.SIGKILL)
    application.wait(lambda: not panel.batch.isRunning)
    assert "ended unexpectedly" in panel.ui.batchStatusLabel.text and panel.ui.batchStartButton.enabled


def _grid():
    from ReShapeITSlicer.geometry import Grid

    return Grid(np.diag([2.0, 2.0, 2.0, 1.0]), (0, 0, 0), SHAPE[::-1])
