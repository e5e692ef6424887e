"""Suggestions in the panel: the table, keys, the slider, undo, views, over a real review in a real scene."""

from __future__ import annotations

import time

import numpy as np
import pytest

pytest.importorskip("slicer", reason="the panel's tests need slicer-core")
pytest.importorskip("PySide6", reason="the panel's tests need PySide6-Essentials")

from Testing.Slicer import slicer_python

slicer_python.install()

import qt
import slicer
from ReShapeITPanel.review.control import ReviewControl
from ReShapeITPanel.review.suggestionTable import CHANGE, EVIDENCE, LIKELY, SEGMENT, TAKEN, VOLUME
from ReShapeITSlicer.refinement import RefinementTask

from Testing.Slicer.answering_boxes import REMOVED, organ_with, reviewed
from Testing.Slicer.refined_boxes import MATRIX, add_boxes, voxels

UI_FILE = slicer_python.ROOT / "ReShapeIT" / "Resources" / "UI" / "ReShapeIT.ui"


@pytest.fixture
def world(application, tmp_path):
    """The panel's widgets over a box with three suggestions: 2 and 3 are left, 1 is taken."""
    world = application
    world.top = slicer.util.loadUI(str(UI_FILE))
    world.ui, world.node = slicer.util.childWidgetVariables(world.top), add_boxes(world.scene)
    world.one = reviewed(world)
    world.task = RefinementTask(world.scene, world.node, {})
    world.task.review, world.task.deciding = world.one.review, world.one.deciding
    world.chosen, world.said = str(tmp_path / "table.csv"), []
    world.control = ReviewControl(world.ui, world.scene, world.said.append, lambda *asked: world.chosen)
    world.control.setTask(world.task)
    world.top.show()
    settled(world)
    yield world
    world.control.setTask(None)
    assert world.slot_errors() == []


def settled(world) -> None:
    world.wait(lambda: not world.one.deciding.isBusy, 20.0)
    world.work()


def now(world) -> np.ndarray:
    return voxels(world.node)["a_refined"]


def row_of(world, number: int) -> int:
    numbers = [one.number for one in world.one.deciding.suggestions()]
    return numbers.index(number)


def select(world, number: int) -> None:
    world.ui.suggestionTable.selectRow(row_of(world, number))


def press(world, key, modifier=0) -> None:
    """A key, typed by a person into the table."""
    from PySide6 import QtCore
    from PySide6.QtTest import QTest

    from Testing.Slicer.pythonqt import unwrapped

    table = unwrapped(world.ui.suggestionTable)
    table.window().activateWindow()
    table.setFocus()
    world.work()
    QTest.keyClick(table, QtCore.Qt.Key(key), QtCore.Qt.KeyboardModifier(modifier))
    world.work()


def texts(world, row: int) -> list[str]:
    return [world.ui.suggestionTable.item(row, column).text() for column in range(6)]


def test_each_suggestion_says_what_how_much_how_likely_and_who_says_so(world):
    row = texts(world, row_of(world, 2))
    assert (row[SEGMENT], row[CHANGE], row[LIKELY]) == ("organ a", "remove a leak", "55 %")
    assert row[EVIDENCE] == "shape" and row[VOLUME] == f"{REMOVED.sum() / 1000:.1f}"
    checked = [
        world.ui.suggestionTable.item(row_of(world, number), TAKEN).checkState() == qt.Qt.Checked
        for number in (1, 2, 3)
    ]
    assert checked == [True, False, False] and world.ui.suggestionLabel.text == "1 of 3 taken"


def test_selecting_one_moves_the_views_to_it_and_outlines_it(world):
    from ReShapeITSlicer.suggestions.outline import NAME

    red = world.scene.AddNewNodeByClass("vtkMRMLSliceNode")
    select(world, 2)
    world.work()
    centre = [red.GetSliceToRAS().GetElement(axis, 3) for axis in range(3)]
    np.testing.assert_allclose(centre, (MATRIX @ [*np.argwhere(REMOVED).mean(axis=0)[::-1], 1.0])[:3], atol=0.5)
    node = world.scene.GetFirstNodeByName(NAME)
    assert np.array_equal(voxels(node)["suggestion"], REMOVED)
    world.control.setTask(None)
    assert world.scene.GetFirstNodeByName(NAME) is None


def test_space_takes_and_leaves_and_arrows_go_on(world):
    select(world, 2)
    press(world, qt.Qt.Key_Space)
    settled(world)
    assert np.array_equal(now(world), organ_with([1, 2]))
    press(world, qt.Qt.Key_Space)
    settled(world)
    assert np.array_equal(now(world), organ_with([1]))
    before = world.ui.suggestionTable.currentRow()
    press(world, qt.Qt.Key_Down if before == 0 else qt.Qt.Key_Up)
    assert world.ui.suggestionTable.currentRow() != before


def test_undo_and_redo_have_keys_and_buttons(world):
    select(world, 2)
    press(world, qt.Qt.Key_Space)
    settled(world)
    press(world, qt.Qt.Key_Z, qt.Qt.ControlModifier)
    settled(world)
    assert np.array_equal(now(world), organ_with([1])) and not world.ui.undoDecisionButton.enabled
    world.ui.redoDecisionButton.click()
    settled(world)
    assert np.array_equal(now(world), organ_with([1, 2]))
    world.ui.undoDecisionButton.click()
    settled(world)
    assert np.array_equal(now(world), organ_with([1]))


def test_a_click_on_the_box_takes_it(world):
    world.ui.suggestionTable.item(row_of(world, 3), TAKEN).setCheckState(qt.Qt.Checked)
    settled(world)
    assert np.array_equal(now(world), organ_with([1, 3]))
    assert world.ui.suggestionTable.item(row_of(world, 3), TAKEN).text() == "by hand"


def test_the_slider_goes_from_cautious_to_bold_and_back_with_undo(world):
    slider = world.ui.boldnessSlider
    assert slider.value == 40
    for value in (60, 75, 90):
        slider.value = value
    settled(world)
    assert np.array_equal(now(world), organ_with([1, 2, 3])) and world.ui.suggestionLabel.text == "3 of 3 taken"
    slider.value = 0
    settled(world)
    assert not (now(world) ^ organ_with([])).any()
    world.ui.undoDecisionButton.click()
    settled(world)
    assert slider.value == 40 and np.array_equal(now(world), organ_with([1]))


def test_the_review_table_follows_at_once(world):
    def volume():
        return float(world.ui.reviewTable.item(0, 2).text())

    before = volume()
    world.ui.boldnessSlider.value = 0
    settled(world)
    assert volume() < before


def test_accept_ends_the_decisions_about_an_organ(world):
    world.ui.acceptButton.click()
    for widget in (world.ui.suggestionTable, world.ui.takeButton, world.ui.boldnessSlider):
        assert not widget.enabled
    assert not world.ui.undoDecisionButton.enabled


def test_what_the_engine_cannot_do_is_told_and_the_table_goes_back(world):
    world.one.engine.error = "The points contradict each other; take one away."
    select(world, 2)
    world.ui.takeButton.click()
    settled(world)
    assert world.said[-1].startswith("The points contradict")
    assert world.ui.suggestionTable.item(row_of(world, 2), TAKEN).checkState() == qt.Qt.Unchecked


def test_the_export_has_the_suggestions_beside_the_table(world, tmp_path):
    world.ui.exportTableButton.click()
    assert (tmp_path / "table.csv").is_file() and (tmp_path / "table_suggestions.csv").is_file()


def test_a_decision_is_in_the_scene_and_the_tables_within_a_fifth_of_a_second(world):
    """Without the engine's own share, which its tests measure."""
    select(world, 2)
    begun = time.perf_counter()
    world.ui.takeButton.click()
    world.wait(lambda: np.array_equal(now(world), organ_with([1, 2])), 5.0)
    assert time.perf_counter() - begun < 0.2


def test_undo_all_closes_the_list(world):
    world.ui.undoButton.click()
    assert world.ui.suggestionTable.rowCount == 0 and sorted(voxels(world.node)) == ["a", "b", "c"]
