"""Clicks in the views: placed by the buttons and keys, about the nearest organ, undone, saved with the scene."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("slicer", reason="the panel's tests need slicer-core")
pytest.importorskip("PySide6", reason="the panel's tests need PySide6-Essentials")

from Testing.Slicer import slicer_python

slicer_python.install()

import slicer
from ReShapeITPanel.parameterNode import ReShapeITParameterNode
from ReShapeITPanel.review.control import ReviewControl
from ReShapeITSlicer.refinement import RefinementTask
from ReShapeITSlicer.suggestions.points import BELONGS, BELONGS_NOT, newStroke, pointsOf, strokePoints

from Testing.Slicer.answering_boxes import REMOVED, organ_with, reviewed
from Testing.Slicer.refined_boxes import MATRIX, add_boxes, voxels

UI_FILE = slicer_python.ROOT / "ReShapeIT" / "Resources" / "UI" / "ReShapeIT.ui"
INSIDE = (MATRIX @ [*np.argwhere(REMOVED)[0][::-1], 1.0])[:3]
ELSEWHERE = (MATRIX @ [20, 22, 18, 1.0])[:3]


@pytest.fixture
def world(application):
    """The panel's widgets over a box with suggestions, in a scene with the application's singletons."""
    world = application
    for kind, tag in (("vtkMRMLSelectionNode", "Singleton"), ("vtkMRMLInteractionNode", "Singleton")):
        if world.scene.GetNodeByID(f"{kind}Singleton") is None:
            node = world.scene.CreateNodeByClass(kind)
            node.SetSingletonTag(tag)
            world.scene.AddNode(node)
    world.top = slicer.util.loadUI(str(UI_FILE))
    world.ui, world.node = slicer.util.childWidgetVariables(world.top), add_boxes(world.scene)
    world.parameters = ReShapeITParameterNode(world.scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))
    world.said = []
    world.control = ReviewControl(world.ui, world.scene, world.said.append)
    world.points = world.control.suggestions.points
    world.points.setParameters(world.parameters)
    start(world)
    world.top.show()
    yield world
    world.control.setTask(None)
    assert world.slot_errors() == []


def start(world) -> None:
    world.one = reviewed(world)
    world.task = RefinementTask(world.scene, world.node, {})
    world.task.review, world.task.deciding = world.one.review, world.one.deciding
    world.control.setTask(world.task)
    settled(world)


def settled(world) -> None:
    timer = world.points._timer
    world.wait(lambda: not timer.active and not world.one.deciding.isBusy, 20.0)
    world.work()


def now(world) -> np.ndarray:
    return voxels(world.node)["a_refined"]


def interaction(world):
    return world.scene.GetNodeByID("vtkMRMLInteractionNodeSingleton")


def test_a_button_lets_clicks_in_the_views_fill_its_list(world):
    world.ui.belongsNotButton.click()
    node = world.parameters.belongsNot
    selection = world.scene.GetNodeByID("vtkMRMLSelectionNodeSingleton")
    assert node.GetName() == BELONGS_NOT and selection.GetActivePlaceNodeID() == node.GetID()
    assert interaction(world).GetCurrentInteractionMode() == interaction(world).Place
    world.ui.belongsButton.click()
    assert selection.GetActivePlaceNodeID() == world.parameters.belongs.GetID()
    assert world.ui.belongsButton.checked and not world.ui.belongsNotButton.checked
    interaction(world).SetCurrentInteractionMode(interaction(world).ViewTransform)
    assert not world.ui.belongsButton.checked, "a right click or Escape in a view ends it"


def test_keys_switch_placing_on_and_off(world):
    from PySide6 import QtCore
    from PySide6.QtTest import QTest

    from Testing.Slicer.pythonqt import unwrapped

    top = unwrapped(world.top)
    top.activateWindow()
    world.work()
    QTest.keyClick(top, QtCore.Qt.Key.Key_Plus)
    assert world.ui.belongsButton.checked
    QTest.keyClick(top, QtCore.Qt.Key.Key_Minus)
    assert world.ui.belongsNotButton.checked and not world.ui.belongsButton.checked
    QTest.keyClick(top, QtCore.Qt.Key.Key_Minus)
    assert interaction(world).GetCurrentInteractionMode() != interaction(world).Place


def test_points_decide_when_they_are_placed_moved_and_removed(world):
    world.ui.belongsNotButton.click()
    node = world.parameters.belongsNot
    index = node.AddControlPointWorld(*INSIDE)
    settled(world)
    assert np.array_equal(now(world), organ_with([1, 2]))
    node.SetNthControlPointPositionWorld(index, *(MATRIX @ [1, 1, 1, 1.0])[:3])
    settled(world)
    assert np.array_equal(now(world), organ_with([1]))
    node.RemoveNthControlPoint(index)
    settled(world)
    assert np.array_equal(now(world), organ_with([1])) and not world.ui.clearPointsButton.enabled


def test_a_clicked_change_is_in_the_list_and_goes_with_its_point(world):
    world.ui.belongsButton.click()
    world.parameters.belongs.AddControlPointWorld(*ELSEWHERE)
    settled(world)
    assert now(world)[18, 22, 20] and world.ui.suggestionTable.rowCount == 4
    world.ui.clearPointsButton.click()
    settled(world)
    assert not now(world)[18, 22, 20] and world.ui.suggestionTable.rowCount == 3


def test_undo_takes_a_point_back_and_redo_puts_it_there_again(world):
    world.ui.belongsNotButton.click()
    world.parameters.belongsNot.AddControlPointWorld(*INSIDE)
    settled(world)
    world.ui.undoDecisionButton.click()
    settled(world)
    assert pointsOf(world.parameters.belongsNot) == [] and np.array_equal(now(world), organ_with([1]))
    world.ui.redoDecisionButton.click()
    settled(world)
    ((where, about),) = pointsOf(world.parameters.belongsNot)
    np.testing.assert_allclose(where, INSIDE, atol=1e-4)
    assert about == "organs: a" and np.array_equal(now(world), organ_with([1, 2]))


def test_points_of_the_scene_count_in_the_next_refinement_of_the_same_segment(world):
    world.ui.belongsNotButton.click()
    world.parameters.belongsNot.AddControlPointWorld(*INSIDE)
    settled(world)
    world.control.undo()
    start(world)
    assert np.array_equal(now(world), organ_with([1, 2]))


def test_points_about_another_segment_do_not_count_and_stay(world):
    world.ui.belongsNotButton.click()
    node = world.parameters.belongsNot
    node.SetNthControlPointDescription(node.AddControlPointWorld(*INSIDE), "organs: spleen")
    settled(world)
    assert np.array_equal(now(world), organ_with([1]))
    world.ui.boldnessSlider.value = 0
    settled(world)
    world.ui.undoDecisionButton.click()
    settled(world)
    assert node.GetNumberOfControlPoints() == 1


def test_a_stroke_is_resampled_every_few_mm(world):
    curve = newStroke(world.scene, BELONGS)
    assert strokePoints(curve) == []
    curve.AddControlPointWorld(0.0, 0.0, 5.0)
    assert np.allclose(strokePoints(curve), [(0.0, 0.0, 5.0)])
    curve.AddControlPointWorld(20.0, 0.0, 5.0)
    np.testing.assert_allclose(strokePoints(curve), [(x, 0.0, 5.0) for x in (0, 4, 8, 12, 16, 20)], atol=0.02)


def test_a_stroke_counts_as_points_when_it_ends_and_is_one_step_of_undo(world):
    world.ui.strokeCheckBox.checked = True
    world.ui.belongsNotButton.click()
    selection = world.scene.GetNodeByID("vtkMRMLSelectionNodeSingleton")
    curve = world.scene.GetNodeByID(selection.GetActivePlaceNodeID())
    assert curve.GetClassName() == "vtkMRMLMarkupsCurveNode" and world.ui.belongsNotButton.checked
    curve.AddControlPointWorld(*INSIDE)
    curve.AddControlPointWorld(INSIDE[0] + 1.0, *INSIDE[1:])
    settled(world)
    assert np.array_equal(now(world), organ_with([1])), "it is not drawn to its end yet"
    interaction(world).SetCurrentInteractionMode(interaction(world).ViewTransform)
    settled(world)
    assert not world.scene.IsNodePresent(curve) and not world.ui.belongsNotButton.checked
    assert len(pointsOf(world.parameters.belongsNot)) == 2 and np.array_equal(now(world), organ_with([1, 2]))
    world.ui.undoDecisionButton.click()
    settled(world)
    assert pointsOf(world.parameters.belongsNot) == [] and np.array_equal(now(world), organ_with([1]))


def test_points_are_saved_with_the_scene(application, tmp_path):
    widget = application.open()
    from ReShapeITSlicer.suggestions.points import newList

    node = newList(application.scene, BELONGS)
    node.SetNthControlPointDescription(node.AddControlPointWorld(1.0, 2.0, 3.0), "organs: a")
    widget._parameterNode.belongs = node
    application.load(application.save(tmp_path / "saved"))
    assert pointsOf(widget._parameterNode.belongs) == [((1.0, 2.0, 3.0), "organs: a")]


def test_after_the_review_nothing_is_placed_any_more(world):
    world.ui.belongsButton.click()
    world.ui.acceptButton.click()
    assert not world.ui.belongsButton.enabled and not world.ui.belongsNotButton.enabled
    assert interaction(world).GetCurrentInteractionMode() != interaction(world).Place
