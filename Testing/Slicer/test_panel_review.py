"""The review in the panel over a real review in a real scene: views, centring, export, *Show 3D*."""

from __future__ import annotations

import csv

import numpy as np
import pytest

pytest.importorskip("slicer", reason="the panel's tests need slicer-core")
pytest.importorskip("PySide6", reason="the panel's tests need PySide6-Essentials")

from Testing.Slicer import slicer_python

slicer_python.install()

import slicer
import vtk
from ReShapeITPanel.review.control import ReviewControl
from ReShapeITPanel.review.views import centreOn
from ReShapeITPanel.show3D import Show3D, isShown3D, show3D
from ReShapeITSlicer.refinement import RefinementTask

from Testing.Slicer.refined_boxes import (
    MATRIX,
    WIDER,
    add_boxes,
    box,
    refined,
    review,
    shown_display,
    voxels,
)

UI_FILE = slicer_python.ROOT / "ReShapeIT" / "Resources" / "UI" / "ReShapeIT.ui"
VOXEL_MM = 2.0
TURNED = (0, -1, 0, 7, 1, 0, 0, -3, 0, 0, 1, 100, 0, 0, 0, 1)


@pytest.fixture
def world(application, tmp_path):
    """The panel's widgets over three boxes, two of which were refined."""
    world = application
    world.top = slicer.util.loadUI(str(UI_FILE))
    world.ui, world.node = slicer.util.childWidgetVariables(world.top), add_boxes(world.scene)
    world.task = RefinementTask(world.scene, world.node, {})
    world.task.review = review(world, refined("a", WIDER), refined("c", box((16, 24))))
    world.chosen, world.said = str(tmp_path / "table.csv"), []
    world.control = ReviewControl(world.ui, world.scene, world.said.append, lambda *asked: world.chosen)
    world.control.setTask(world.task)
    yield world
    world.control.setTask(None)
    assert world.slot_errors() == []


def add_transform(world, matrix=TURNED):
    """A linear transform over the segmentation."""
    transform, elements = world.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode"), vtk.vtkMatrix4x4()
    elements.DeepCopy(matrix)
    transform.SetMatrixTransformToParent(elements)
    world.node.SetAndObserveTransformNodeID(transform.GetID())


def centre_of_view(node) -> np.ndarray:
    """World RAS mm at the centre of a slice view."""
    return np.array([node.GetSliceToRAS().GetElement(axis, 3) for axis in range(3)])


def world_centre(world, segment_id: str) -> np.ndarray:
    """World RAS mm of the middle of a box."""
    indices = np.argwhere(voxels(world.node)[segment_id])[:, ::-1]
    middle = MATRIX @ [*(indices.min(axis=0) + indices.max(axis=0)) / 2, 1.0]
    transform = world.node.GetParentTransformNode()
    return (np.reshape(TURNED, (4, 4)) @ middle if transform else middle)[:3]


@pytest.mark.parametrize("transformed", [False, True])
def test_centre_moves_all_views_to_the_segment_in_world_coordinates(world, transformed):
    if transformed:
        add_transform(world)
    red = world.scene.AddNewNodeByClass("vtkMRMLSliceNode")
    camera = world.scene.AddNewNodeByClass("vtkMRMLCameraNode")
    assert centreOn(world.scene, world.node, "b")
    np.testing.assert_allclose(centre_of_view(red), world_centre(world, "b"), atol=VOXEL_MM)
    np.testing.assert_allclose(camera.GetFocalPoint(), world_centre(world, "b"), atol=VOXEL_MM)
    world.ui.reviewTable.selectRow(1)
    world.ui.centreButton.click()
    np.testing.assert_allclose(centre_of_view(red), world_centre(world, "c_refined"), atol=VOXEL_MM)


def test_centring_on_nothing_leaves_the_views(world):
    red = world.scene.AddNewNodeByClass("vtkMRMLSliceNode")
    world.node.GetSegmentation().AddEmptySegment("empty", "empty")
    before = centre_of_view(red)
    assert not centreOn(world.scene, world.node, "empty") and not centreOn(world.scene, world.node, "nowhere")
    np.testing.assert_array_equal(centre_of_view(red), before)


def test_a_double_click_on_a_row_centres_on_its_segment(world):
    red = world.scene.AddNewNodeByClass("vtkMRMLSliceNode")
    world.ui.reviewTable.selectRow(1)
    world.ui.reviewTable.cellDoubleClicked(1, 0)
    np.testing.assert_allclose(centre_of_view(red), world_centre(world, "c_refined"), atol=VOXEL_MM)


def test_the_next_largest_change_is_reached_in_world_coordinates(world):
    add_transform(world)
    red = world.scene.AddNewNodeByClass("vtkMRMLSliceNode")
    world.ui.nextChangeButton.click()
    assert world.ui.changeLabel.text == "3.0 mm outwards"
    surface = world.task.review._results.items[0].refined.surface
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(TURNED)
    np.testing.assert_allclose(centre_of_view(red), matrix.MultiplyPoint([*surface.GetPoint(0), 1.0])[:3], atol=0.01)


def test_the_table_is_written_to_the_file_that_the_user_chooses(world):
    world.ui.exportTableButton.click()
    with open(world.chosen, newline="", encoding="utf-8") as file:
        assert [row["Segment"] for row in csv.DictReader(file)] == ["organ a", "organ c"]
    assert world.chosen in world.said[-1]


def test_no_chosen_file_writes_nothing_and_a_bad_one_is_told(world, tmp_path):
    said = len(world.said)
    world.chosen = ""
    world.ui.exportTableButton.click()
    assert len(world.said) == said
    world.chosen = str(tmp_path / "missing" / "table.csv")
    world.ui.exportTableButton.click()
    assert "cannot be written" in world.said[-1]


def test_the_table_goes_into_the_scene(world):
    world.ui.tableNodeButton.click()
    node = world.scene.GetFirstNodeByClass("vtkMRMLTableNode")
    assert node.GetNumberOfRows() == 2 and node.GetName() in world.said[-1]


@pytest.mark.parametrize("button", ["acceptButton", "rejectButton"])
def test_deciding_every_row_gives_the_given_segments_their_look_back(world, button):
    world.ui.opacityBeforeSlider.value = 0.3
    assert shown_display(world.node).GetSegmentOpacity2DFill("a") == pytest.approx(0.3)
    for row in range(2):
        world.ui.reviewTable.selectRow(row)
        getattr(world.ui, button).click()
    display = shown_display(world.node)
    assert [display.GetSegmentOpacity3D(name) for name in ("a", "b", "c")] == [1.0, 1.0, 1.0]
    world.ui.opacityBeforeSlider.value = 0.6  # nothing is left to fade
    assert shown_display(world.node) is world.node.GetDisplayNode()


@pytest.mark.parametrize("how", ["another refinement", "the panel closes", "the scene closes"])
def test_the_look_comes_back_when_the_review_ends_undecided(world, how):
    world.ui.changeMapCheckBox.checked = True
    world.ui.opacityBeforeSlider.value = 0.0
    display = world.node.GetDisplayNode()
    assert shown_display(world.node) is not display
    if how == "another refinement":
        world.control.setTask(RefinementTask(world.scene, world.node, {}))
    elif how == "the panel closes":
        world.control.setTask(None)
    else:
        world.scene.InvokeEvent(world.scene.StartCloseEvent)
    assert shown_display(world.node) is display and display.GetSegmentOpacity3D("a") == 1.0
    assert not world.scene.GetNumberOfNodesByClass("vtkMRMLModelNode")


def test_undo_ten_times_and_accept_after_it_raise_nothing(world):
    for _ in range(10):
        world.control.undo()
    world.ui.acceptButton.click()
    world.ui.acceptAllButton.click()
    world.ui.opacityAfterSlider.value = 0.5
    assert list(voxels(world.node)) == ["a", "b", "c"]


@pytest.mark.parametrize("deleted", ["segmentation", "model", "display"])
def test_a_node_deleted_during_the_review_is_told_once_an_action_needs_it(world, deleted):
    (row, _other) = world.task.summary()
    node = {
        "segmentation": world.node,
        "model": world.scene.GetNodeByID(row.modelNodeId),
        "display": world.node.GetDisplayNode(),
    }[deleted]
    world.scene.RemoveNode(node)
    for name in ("centreButton", "nextChangeButton", "tableNodeButton", "acceptButton", "undoButton"):
        getattr(world.ui, name).click()
    if deleted == "segmentation":
        assert any("no longer in the scene" in text for text in world.said)
    assert world.scene.GetNumberOfNodesByClass("vtkMRMLModelNode") == 0


@pytest.mark.parametrize("has_display", [True, False])
def test_show_3d_makes_surfaces_and_shows_them(world, has_display):
    node = add_boxes(world.scene, display=has_display)
    button, said = world.ui.show3DButton, []
    control = Show3D(button, said.append)
    control.setSegmentation(node)
    assert button.enabled and not button.checked
    button.click()
    assert button.checked and isShown3D(node) and node.GetSegmentation().ContainsRepresentation("Closed surface")
    button.click()
    assert not button.checked and not node.GetDisplayNode().GetVisibility3D()
    button.click()
    assert isShown3D(node) and not said
    control.setSegmentation(None)
    assert not button.enabled and not button.checked and isShown3D(node)


def test_show_3d_follows_what_is_shown_or_hidden_elsewhere(world):
    control = Show3D(world.ui.show3DButton)
    control.setSegmentation(world.node)
    show3D(world.node, True)
    assert world.ui.show3DButton.checked
    world.node.GetDisplayNode().SetVisibility3D(False)
    assert not world.ui.show3DButton.checked
    world.node.GetDisplayNode().SetVisibility3D(True)
    world.node.GetSegmentation().RemoveRepresentation("Closed surface")
    assert not world.ui.show3DButton.checked
    control.setSegmentation(None)


def test_show_3d_can_be_used_during_the_review(world):
    control = Show3D(world.ui.show3DButton)
    control.setSegmentation(world.node)
    world.ui.opacityBeforeSlider.value = 0.3
    world.ui.show3DButton.click()
    assert shown_display(world.node).GetVisibility3D() and world.ui.show3DButton.checked
    world.ui.show3DButton.click()
    assert not shown_display(world.node).GetVisibility3D()
    control.setSegmentation(None)


def test_show_3d_of_a_segmentation_without_segments_is_off(world):
    node = world.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "empty")
    control = Show3D(world.ui.show3DButton)
    control.setSegmentation(node)
    assert not world.ui.show3DButton.enabled
    node.GetSegmentation().AddEmptySegment("a", "a")
    assert world.ui.show3DButton.enabled
    control.setSegmentation(None)
