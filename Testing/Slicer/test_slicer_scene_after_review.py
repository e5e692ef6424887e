"""What a refinement leaves in the scene and in the views: while it is reviewed, when it is saved, and afterwards."""

from __future__ import annotations

import gc
import weakref
import zipfile

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="the scene side needs slicer-core")
import vtk
from ReShapeITSlicer.errors import RefinementError
from ReShapeITSlicer.options import IN_PLACE, NEW_SEGMENTS, RESULT_MODES
from ReShapeITSlicer.review.changeMap import removeEmptyFolders
from ReShapeITSlicer.segmentVoxels import writeMask

from Testing.Slicer.refined_boxes import (
    GRID,
    ORGANS,
    WIDER,
    box,
    item_names,
    node_ids,
    refined,
    review,
    shown_display,
    voxels,
    world_of_boxes,
)
from Testing.Slicer.scene import new_scene

FOLDER = "ReShapeIT change"
VIEW = "vtkMRMLViewNode1"


@pytest.fixture
def world(tmp_path):
    """Three boxes in a segmentation that lies under a patient; their looks differ from the defaults."""
    world = world_of_boxes(tmp_path)
    hierarchy = world.scene.GetFirstNodeByClass("vtkMRMLSubjectHierarchyNode")
    world.patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "patient")
    hierarchy.CreateItem(world.patient, world.node)
    display = world.node.GetDisplayNode()
    display.SetSegmentOpacity3D("a", 0.8)
    display.SetSegmentOpacity2DFill("a", 0.6)
    display.SetSegmentOpacity2DOutline("a", 0.4)
    display.SetSegmentVisibility3D("b", False)
    display.SetSegmentVisibility2DFill("c", False)
    return world


def look(display) -> dict[str, tuple]:
    """Opacities and visibilities of each segment."""
    kinds = ("Opacity3D", "Opacity2DFill", "Opacity2DOutline", "Visibility", "Visibility3D", "Visibility2DFill")
    return {
        segment_id: tuple(getattr(display, f"GetSegment{kind}")(segment_id) for kind in kinds) for segment_id in ORGANS
    }


def saved_and_loaded(world, folder, suffix: str):
    """The scene as another session finds it in the saved file."""
    other, path = new_scene(folder), folder / f"saved.{suffix}"
    if suffix == "mrb":
        assert world.scene.WriteToMRB(str(path))
        with zipfile.ZipFile(path) as bundle:
            bundle.extractall(folder / "unpacked")
        (path,) = (folder / "unpacked").glob("*/*.mrml")
    else:
        storage = world.scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
        storage.SetFileName(str(folder / "organs.seg.nrrd"))
        world.node.SetAndObserveStorageNodeID(storage.GetID())
        assert storage.WriteData(world.node)
        world.scene.SetURL(str(path))
        world.scene.SetRootDirectory(str(folder))
        assert world.scene.Commit()
    other.scene.SetURL(str(path))
    assert other.scene.Connect()
    return other


def of_review(scene) -> list[str]:
    """Nodes that only a review needs."""
    kinds = ("vtkMRMLColorTableNode", "vtkMRMLModelNode", "vtkMRMLModelDisplayNode", "vtkMRMLColorLegendDisplayNode")
    nodes = [scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes())]
    found = [node.GetID() for node in nodes if node.GetClassName() in kinds and "change" in node.GetName()]
    displays = [node for node in nodes if node.GetClassName() == "vtkMRMLSegmentationDisplayNode"]
    return found + [node.GetID() for node in displays if not node.GetSaveWithScene()]


@pytest.mark.parametrize("mode", RESULT_MODES)
@pytest.mark.parametrize("decision", ["accept", "reject"])
def test_an_organ_looks_as_before_once_it_is_decided_and_the_other_does_not_yet(world, mode, decision):
    before = look(world.node.GetDisplayNode())
    done = review(world, refined("a", WIDER), refined("c", box((16, 26))), resultMode=mode)
    done.setOpacity(0.3, 0.5, True)
    assert look(shown_display(world.node))["c"] != before["c"]
    getattr(done, decision)("a")
    now = look(shown_display(world.node))
    assert now["a"] == before["a"] and now["b"] == before["b"]
    assert now["c"][0] == 0.0  # the change map stands for it still
    getattr(done, decision)("c")
    assert look(shown_display(world.node)) == before
    assert not of_review(world.scene)


def test_an_accepted_segment_is_shown_at_full_opacity(world):
    done = review(world, refined("a", WIDER))
    done.setOpacity(0.3, 0.4)
    assert shown_display(world.node).GetSegmentOpacity3D("a_refined") == 0.4
    done.accept("a")
    display = shown_display(world.node)
    assert display.GetSegmentOpacity3D("a_refined") == display.GetSegmentOpacity2DFill("a_refined") == 1.0
    assert display.GetSegmentVisibility("a_refined")


@pytest.mark.parametrize("how", ["undo", "close", "the scene closes", "the display is deleted"])
def test_all_organs_look_as_before_when_the_review_ends(world, how):
    display = world.node.GetDisplayNode()
    before = look(display)
    done = review(world, refined("a", WIDER), refined("c", box((16, 26))))
    done.setOpacity(0.0, 1.0, True)
    if how == "the scene closes":
        world.scene.InvokeEvent(world.scene.StartCloseEvent)
    elif how == "the display is deleted":
        world.scene.RemoveNode(shown_display(world.node))
    else:
        getattr(done, how)()
    assert shown_display(world.node) is display and look(display) == before
    assert not of_review(world.scene)
    assert display.GetViewNodeIDs() == ()


def test_what_the_user_changes_during_the_review_is_seen_at_once_and_stays(world):
    done = review(world, refined("a", WIDER))
    done.setOpacity(0.5, 1.0)
    display = world.node.GetDisplayNode()
    display.SetSegmentVisibility("a", False)
    display.SetSegmentOpacity2DFill("a", 0.2)
    display.SetVisibility2DOutline(False)
    assert not shown_display(world.node).GetSegmentVisibility("a")
    assert shown_display(world.node).GetSegmentOpacity2DFill("a") == pytest.approx(0.5 * 0.2)
    assert not shown_display(world.node).GetVisibility2DOutline()
    done.accept("a")
    display = shown_display(world.node)
    assert not display.GetSegmentVisibility("a") and display.GetSegmentOpacity2DFill("a") == 0.2
    assert not display.GetVisibility2DOutline()


def test_a_segmentation_that_is_shown_in_some_views_only_stays_so(world):
    display = world.node.GetDisplayNode()
    display.AddViewNodeID(VIEW)
    display.AddViewNodeID("vtkMRMLSliceNodeRed")
    done = review(world, refined("a", WIDER))
    done.setOpacity(0.5, 1.0)
    faded = shown_display(world.node)
    assert faded is not display and not faded.IsDisplayableInView("vtkMRMLSliceNodeGreen")
    assert not display.IsDisplayableInView(VIEW)
    # What Slicer does when the user chooses other views for it.
    display.RemoveAllViewNodeIDs()
    display.AddViewNodeID("vtkMRMLSliceNodeGreen")
    assert shown_display(world.node, "vtkMRMLSliceNodeGreen") is faded
    done.undo()
    assert display.GetViewNodeIDs() == ("vtkMRMLSliceNodeGreen",)


@pytest.mark.parametrize("suffix", ["mrml", "mrb"])
@pytest.mark.parametrize("mode", [NEW_SEGMENTS, IN_PLACE])
def test_a_scene_saved_during_the_review_shows_the_organs_when_it_is_loaded(world, tmp_path, suffix, mode):
    before = look(world.node.GetDisplayNode())
    done = review(world, refined("a", WIDER), resultMode=mode)
    done.setOpacity(0.0, 1.0, True)
    assert look(shown_display(world.node))["a"][0] == 0.0
    loaded = saved_and_loaded(world, tmp_path, suffix)
    node = loaded.scene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    assert node.GetNumberOfDisplayNodes() == 1
    display = shown_display(node)
    assert look(display) == before and display.GetViewNodeIDs() == () and display.GetVisibility(VIEW)
    # The review itself goes on.
    assert look(shown_display(world.node))["a"][0] == 0.0
    done.accept("a")
    assert look(shown_display(world.node)) == before


def test_views_chosen_for_a_segmentation_are_saved_during_the_review(world, tmp_path):
    for view in (VIEW, "vtkMRMLSliceNodeRed"):
        world.node.GetDisplayNode().AddViewNodeID(view)
    review(world, refined("a", WIDER)).setOpacity(0.0, 1.0, True)
    loaded = saved_and_loaded(world, tmp_path, "mrml")
    display = loaded.scene.GetFirstNodeByClass("vtkMRMLSegmentationNode").GetDisplayNode()
    assert display.GetViewNodeIDs() == (VIEW, "vtkMRMLSliceNodeRed")


@pytest.mark.parametrize("suffix", ["mrml", "mrb"])
def test_a_scene_saved_during_the_review_holds_nothing_of_the_change_map(world, tmp_path, suffix):
    done = review(world, refined("a", WIDER))
    done.setOpacity(0.0, 1.0, True)
    loaded = saved_and_loaded(world, tmp_path, suffix)
    assert not of_review(loaded.scene)
    removeEmptyFolders(loaded.scene)  # the subject hierarchy writes items of nodes that are not saved
    assert item_names(loaded.scene) == ["patient", "organs"]


def test_the_change_map_lies_in_a_folder_beside_the_segmentation_while_it_is_reviewed(world):
    done = review(world, refined("a", WIDER), refined("c", box((16, 26))))
    assert item_names(world.scene) == ["patient", "organs", FOLDER, "organ a (change)", "organ c (change)"]
    hierarchy = world.scene.GetFirstNodeByClass("vtkMRMLSubjectHierarchyNode")
    assert hierarchy.GetItemParent(hierarchy.GetItemByName(FOLDER)) == world.patient
    removeEmptyFolders(world.scene)  # what is in use is none
    assert len(item_names(world.scene)) == 5
    done.reject("a")
    assert item_names(world.scene) == ["patient", "organs", FOLDER, "organ c (change)"]
    done.accept("c")
    assert item_names(world.scene) == ["patient", "organs"]


def test_all_reviews_share_one_colour_table_and_the_last_one_removes_it(world):
    before = node_ids(world.scene)
    first = review(world, refined("a", WIDER))
    other = world.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "other")
    other.CreateDefaultDisplayNodes()
    second = review(world, refined("c", box((16, 26))))
    tables = [
        world.scene.GetNodeByID(row.modelNodeId).GetDisplayNode().GetColorNodeID()
        for done in (first, second)
        for row in done.summary()
    ]
    assert len(set(tables)) == 1
    first.reject("a")
    assert world.scene.GetNodeByID(tables[0]) is not None
    second.reject("c")
    assert world.scene.GetNodeByID(tables[0]) is None
    assert [name for name in node_ids(world.scene) if name in before] == before


def test_the_change_map_has_one_legend_that_goes_with_it(world):
    done = review(world, refined("a", WIDER), refined("c", box((16, 26))))
    done.setOpacity(0.3, 1.0, True)
    legends = world.scene.GetNodesByClass("vtkMRMLColorLegendDisplayNode")
    (legend,) = [legends.GetItemAsObject(index) for index in range(legends.GetNumberOfItems())]
    assert legend.GetVisibility() and legend.GetTitleText() == "moved, mm" and not legend.GetSaveWithScene()
    done.setOpacity(0.3, 1.0)
    assert not legend.GetVisibility()
    done.setOpacity(0.3, 1.0, True)
    done.reject("a")  # its model carried the legend
    assert world.scene.GetNumberOfNodesByClass("vtkMRMLColorLegendDisplayNode") == 1
    done.reject("c")
    assert world.scene.GetNumberOfNodesByClass("vtkMRMLColorLegendDisplayNode") == 0


def test_a_kept_change_map_stays_in_the_scene_and_is_saved(world, tmp_path):
    done = review(world, refined("a", WIDER))
    done.setOpacity(0.0, 1.0, True)
    (model_id,) = done.keepChangeMap()
    done.accept("a")
    model = world.scene.GetNodeByID(model_id)
    assert model.GetSaveWithScene() and model.GetDisplayNode().GetColorNode().GetSaveWithScene()
    assert look(shown_display(world.node))["a"][0] == 0.8
    loaded = saved_and_loaded(world, tmp_path, "mrb")
    removeEmptyFolders(loaded.scene)
    assert loaded.scene.GetNumberOfNodesByClass("vtkMRMLModelNode") == 1
    assert FOLDER in item_names(loaded.scene)


@pytest.mark.parametrize("mode", RESULT_MODES)
def test_ten_refinements_taken_back_leave_the_scene_as_it_was(world, mode):
    nodes, items, looks = node_ids(world.scene), item_names(world.scene), look(world.node.GetDisplayNode())
    for _ in range(10):
        done = review(world, refined("a", WIDER), refined("c", box((16, 26))), resultMode=mode)
        done.setOpacity(0.3, 1.0, True)
        done.blend("a", 0.5)
        done.undo()
        assert (node_ids(world.scene), item_names(world.scene)) == (nodes, items)
    assert look(shown_display(world.node)) == looks
    assert all(np.array_equal(voxels(world.node)[name], mask) for name, mask in ORGANS.items())


def test_ten_refinements_accepted_leave_the_refined_segments_alone(world):
    nodes, items = node_ids(world.scene), item_names(world.scene)
    for _ in range(10):
        done = review(world, refined("a", WIDER))
        done.setOpacity(0.3, 1.0, True)
        done.accept("a")
    assert (node_ids(world.scene), item_names(world.scene)) == (nodes, items)
    assert world.node.GetSegmentation().GetNumberOfSegments() == 13


@pytest.mark.parametrize("mode", RESULT_MODES)
def test_undo_may_be_pressed_again_without_touching_what_was_done_since(world, mode):
    done = review(world, refined("a", WIDER), resultMode=mode)
    done.setOpacity(0.3, 1.0, True)
    done.undo()
    segmentation = world.node.GetSegmentation()
    segmentation.GetSegment("a").SetName("renamed")
    drawn = box((2, 9))
    writeMask(segmentation, "a", drawn, GRID)
    nodes = node_ids(world.scene)
    for _ in range(10):
        done.undo()
    assert np.array_equal(voxels(world.node)["a"], drawn) and node_ids(world.scene) == nodes


@pytest.mark.parametrize("act", ["accept", "reject", "blend", "setOpacity"])
def test_after_undo_one_sentence_says_that_there_is_nothing_to_decide(world, act):
    done = review(world, refined("a", WIDER))
    done.undo()
    nodes = node_ids(world.scene)
    arguments = {"blend": ("a", 0.5), "setOpacity": (0.5, 0.5)}.get(act, ("a",))
    with pytest.raises(RefinementError, match=r"^Everything was taken back; refine again\.$"):
        getattr(done, act)(*arguments)
    assert [row.state for row in done.summary()] == ["rejected"] and node_ids(world.scene) == nodes


def test_a_rejected_result_cannot_be_accepted(world):
    done = review(world, refined("a", WIDER), refined("c", box((16, 26))))
    done.reject("a")
    with pytest.raises(RefinementError, match="'organ a' was rejected"):
        done.accept("a")


@pytest.mark.parametrize("mode", RESULT_MODES)
def test_a_segmentation_deleted_during_the_review_takes_the_change_map_with_it(world, mode):
    nodes = node_ids(world.scene)
    done = review(world, refined("a", WIDER), resultMode=mode)
    done.setOpacity(0.3, 1.0, True)
    gone = done.resultSegmentationNode
    displays = [gone.GetNthDisplayNode(index) for index in range(gone.GetNumberOfDisplayNodes())]
    world.scene.RemoveNode(gone)
    for display in displays:
        world.scene.RemoveNode(display)
    assert not of_review(world.scene)
    for act in (lambda: done.accept("a"), lambda: done.reject("a"), lambda: done.setOpacity(1, 1)):
        with pytest.raises(RefinementError, match="no longer in the scene"):
            act()
    done.undo()
    assert set(node_ids(world.scene)) <= set(nodes) and FOLDER not in item_names(world.scene)


def test_a_model_deleted_during_the_review_leaves_the_organ_visible_and_nothing_behind(world):
    nodes = node_ids(world.scene)
    done = review(world, refined("a", WIDER))
    done.setOpacity(0.3, 1.0, True)
    (row,) = done.summary()
    world.scene.RemoveNode(world.scene.GetNodeByID(row.modelNodeId))
    done.setOpacity(0.3, 1.0, True)
    assert shown_display(world.node).GetSegmentOpacity3D("a_refined") == 1.0
    assert done.summary()[0].modelNodeId == ""
    done.undo()
    assert node_ids(world.scene) == nodes and FOLDER not in item_names(world.scene)


def test_the_display_of_a_segmentation_deleted_during_the_review_is_no_fault(world):
    done = review(world, refined("a", WIDER))
    done.setOpacity(0.3, 1.0, True)
    world.scene.RemoveNode(world.node.GetDisplayNode())
    done.setOpacity(0.5, 1.0)
    done.accept("a")
    assert not of_review(world.scene)


def test_a_result_deleted_during_the_review_is_told_in_one_sentence(world):
    done = review(world, refined("a", WIDER))
    world.node.GetSegmentation().RemoveSegment("a_refined")
    for act in (lambda: done.accept("a"), lambda: done.blend("a", 0.5)):
        with pytest.raises(RefinementError, match=r"^The result of 'organ a' was deleted; refine again\.$"):
            act()
    done.setOpacity(0.5, 1.0)
    done.undo()
    assert list(voxels(world.node)) == ["a", "b", "c"]


def test_a_review_that_nobody_decides_ends_with_the_scene(world):
    done = review(world, refined("a", WIDER))
    done.setOpacity(0.3, 1.0, True)
    world.scene.Clear(False)
    assert not of_review(world.scene) and world.scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    done.undo()


def test_a_review_that_nobody_holds_any_more_ends(world):
    nodes, display = node_ids(world.scene), world.node.GetDisplayNode()
    done = review(world, refined("a", WIDER))
    done.setOpacity(0.3, 1.0, True)
    del done
    assert shown_display(world.node) is display and node_ids(world.scene) == nodes
    assert list(voxels(world.node)) == ["a", "a_refined", "b", "c"]


def test_a_scene_that_is_thrown_away_with_its_review_is_no_fault(tmp_path):
    world = world_of_boxes(tmp_path)
    world.review = review(world, refined("a", WIDER))
    world.review.setOpacity(0.3, 1.0, True)
    world.cycle, gone = world, weakref.ref(world.review)
    del world
    gc.collect()
    assert gone() is None


def test_segments_without_name_and_segments_of_one_name_can_be_told_apart(world):
    segmentation = world.node.GetSegmentation()
    segmentation.GetSegment("a").SetName(None)
    segmentation.GetSegment("b").SetName("lobe")
    segmentation.GetSegment("c").SetName("lobe")
    done = review(world, refined("a", WIDER), refined("b", box((10, 16))), refined("c", box((16, 24))))
    assert [row.name for row in done.summary()] == ["a", "lobe (b)", "lobe (c)"]
    names = [segmentation.GetSegment(f"{organ}_refined").GetName() for organ in "abc"]
    assert names == ["a (refined)", "lobe (refined)", "lobe (refined)"]
    done.reject("a")
    with pytest.raises(RefinementError, match="'a' was rejected"):
        done.blend("a", 0.5)


def test_a_segment_without_colour_in_a_segmentation_without_display_is_no_fault(world):
    world.node = world.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "grey")
    segmentation = world.node.GetSegmentation()
    segmentation.AddSegment(slicer.vtkSegment(), "a")
    writeMask(segmentation, "a", ORGANS["a"], GRID)
    nodes = node_ids(world.scene)
    done = review(world, refined("a", WIDER))
    done.setOpacity(0.3, 1.0, True)
    assert segmentation.GetSegment("a_refined").GetColor() == segmentation.GetSegment("a").GetColor()
    done.undo()
    assert list(voxels(world.node)) == ["a"] and node_ids(world.scene) == nodes


def test_the_change_map_follows_the_segmentation_into_another_transform(world):
    done = review(world, refined("a", WIDER))
    transform = world.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 3, 50.0)
    transform.SetMatrixTransformToParent(matrix)
    world.node.SetAndObserveTransformNodeID(transform.GetID())
    done.setOpacity(0.3, 1.0, True)
    (row,) = done.summary()
    assert world.scene.GetNodeByID(row.modelNodeId).GetTransformNodeID() == transform.GetID()


def test_the_centre_of_an_organ_is_in_world_coordinates(world):
    done = review(world, refined("a", WIDER))
    before = np.array(done.centreOf("a"))
    transform = world.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy([0, -1, 0, 7, 1, 0, 0, -3, 0, 0, 1, 100, 0, 0, 0, 1])
    transform.SetMatrixTransformToParent(matrix)
    world.node.SetAndObserveTransformNodeID(transform.GetID())
    expected = (7 - before[1], before[0] - 3, before[2] + 100)
    assert np.allclose(done.centreOf("a"), expected, atol=1e-6)
    done.reject("a")
    assert done.centreOf("a") is not None  # of the given organ
