"""Results in a real Slicer scene: modes, overlap policies, review and undo, on boxes whose voxels are known."""

from __future__ import annotations

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="the scene side needs slicer-core")

from ReShapeITSlicer.errors import RefinementError
from ReShapeITSlicer.options import (
    ALLOW_OVERLAP,
    IN_PLACE,
    KEEP_NEIGHBOURS,
    NEW_SEGMENTATION,
    NEW_SEGMENTS,
    RESULT_MODES,
    TAKE_FROM_NEIGHBOURS,
    RefinementOptions,
)
from ReShapeITSlicer.review.changeMap import CHANGE, changes, largestChanges
from ReShapeITSlicer.review.review import Review
from ReShapeITSlicer.segmentVoxels import LABELMAP, SURFACE, newSegment, segmentMask, writeMask

from Testing.Slicer.refined_boxes import (
    GRID,
    MATRIX,
    ORGANS,
    WIDER,
    box,
    node_ids,
    refined,
    review,
    shown_display,
    voxels,
    world_of_boxes,
)


@pytest.fixture
def world(tmp_path):
    """A scene with three boxes side by side in one labelmap."""
    return world_of_boxes(tmp_path)


def assert_voxels(node, **expected) -> None:
    found = voxels(node)
    assert list(found) == list(expected)
    for segmentId, mask in expected.items():
        assert np.array_equal(found[segmentId], mask), segmentId


def test_new_segments_stand_behind_the_given_ones_and_keep_what_says_what_they_are(world):
    done = review(world, refined("a", WIDER), overlapPolicy=ALLOW_OVERLAP)
    assert_voxels(world.node, a=ORGANS["a"], a_refined=WIDER, b=ORGANS["b"], c=ORGANS["c"])
    segment = world.node.GetSegmentation().GetSegment("a_refined")
    assert segment.GetName() == "organ a (refined)" and segment.GetColor() == pytest.approx((0.1, 0.5, 0.9))
    assert segment.GetTerminology() == "code of a"
    (row,) = done.summary()
    voxel_ml = abs(np.linalg.det(MATRIX[:3, :3])) / 1000
    assert row.volumeBeforeMl == pytest.approx(ORGANS["a"].sum() * voxel_ml)
    assert row.volumeAfterMl == pytest.approx(WIDER.sum() * voxel_ml)
    assert row.dscToInput == pytest.approx(2 * 7 / 17)
    assert (row.largestMoveMm, row.state, row.resultSegmentId) == (3.0, "pending", "a_refined")


def test_in_place_keeps_id_name_colour_and_order(world):
    review(world, refined("a", WIDER), resultMode=IN_PLACE, overlapPolicy=ALLOW_OVERLAP)
    assert_voxels(world.node, a=WIDER, b=ORGANS["b"], c=ORGANS["c"])
    segment = world.node.GetSegmentation().GetSegment("a")
    assert (segment.GetName(), segment.GetTerminology()) == ("organ a", "code of a")


def test_a_new_segmentation_has_the_refined_segments_alone(world):
    done = review(world, refined("a", WIDER), resultMode=NEW_SEGMENTATION, overlapPolicy=TAKE_FROM_NEIGHBOURS)
    assert_voxels(world.node, **ORGANS)
    assert_voxels(done.resultSegmentationNode, a=WIDER)
    assert done.resultSegmentationNode.GetSegmentation().GetSegment("a").GetName() == "organ a"


@pytest.mark.parametrize("mode", [NEW_SEGMENTS, IN_PLACE])
def test_neighbours_keep_or_give_voxels_as_chosen(world, mode):
    name = "a" if mode == IN_PLACE else "a_refined"
    kept = review(world, refined("a", WIDER), resultMode=mode, overlapPolicy=KEEP_NEIGHBOURS)
    assert np.array_equal(voxels(world.node)[name], ORGANS["a"])
    kept.undo()
    review(world, refined("a", WIDER), resultMode=mode, overlapPolicy=TAKE_FROM_NEIGHBOURS)
    after = voxels(world.node)
    assert np.array_equal(after[name], WIDER) and np.array_equal(after["b"], ORGANS["b"] & ~WIDER)
    assert np.array_equal(after["c"], ORGANS["c"])


def test_neighbours_get_voxels_back_when_a_blend_leaves_them(world):
    done = review(world, refined("a", WIDER), resultMode=IN_PLACE, overlapPolicy=TAKE_FROM_NEIGHBOURS)
    done.blend("a", 0.0)
    assert_voxels(world.node, **ORGANS)
    done.blend("a", 0.5)
    found = voxels(world.node)
    assert ORGANS["a"].sum() < found["a"].sum() < WIDER.sum()
    assert np.array_equal(found["a"] | found["b"], ORGANS["a"] | ORGANS["b"]) and not (found["a"] & found["b"]).any()


def test_a_segment_around_the_organ_does_not_hold_it_back(world):
    source = slicer.vtkSegment()
    source.SetName("everything")
    newSegment(world.node.GetSegmentation(), source, "whole", box((2, 26), (3, 22)), GRID)
    wider = box((1, 10))
    review(world, refined("a", wider), resultMode=IN_PLACE, overlapPolicy=KEEP_NEIGHBOURS)
    assert np.array_equal(voxels(world.node)["a"], wider)


@pytest.mark.parametrize("mode", [NEW_SEGMENTS, IN_PLACE])
def test_what_the_user_drew_on_a_neighbour_meanwhile_stays_whatever_is_blended_or_undone(world, mode):
    segmentation = world.node.GetSegmentation()
    done = review(world, refined("a", WIDER), resultMode=mode, overlapPolicy=TAKE_FROM_NEIGHBOURS)
    drawn = box((14, 17), (20, 23))  # beside b, in the layer that it shares with c
    writeMask(segmentation, "b", segmentMask(segmentation, "b", GRID) | drawn, GRID)
    done.blend("a", 0.5)
    between = voxels(world.node)["a" if mode == IN_PLACE else "a_refined"]
    assert np.array_equal(voxels(world.node)["b"], (ORGANS["b"] & ~between) | drawn)
    done.undo()
    assert_voxels(world.node, a=ORGANS["a"], b=ORGANS["b"] | drawn, c=ORGANS["c"])


@pytest.mark.parametrize("mode", [NEW_SEGMENTS, IN_PLACE])
def test_undo_gives_shared_layers_back_as_they_were(world, mode):
    segmentation = world.node.GetSegmentation()
    layers = segmentation.GetNumberOfLayers(LABELMAP)
    done = review(world, refined("a", WIDER), refined("c", box((15, 26))), resultMode=mode)
    # What Slicer itself does when a segment is edited that shares its labelmap.
    segmentation.SeparateSegmentLabelmap("b")
    done.undo()
    assert_voxels(world.node, **ORGANS)
    assert segmentation.GetNumberOfLayers(LABELMAP) == layers == 1


@pytest.mark.parametrize("mode", RESULT_MODES)
@pytest.mark.parametrize("policy", [TAKE_FROM_NEIGHBOURS, ALLOW_OVERLAP])
def test_undo_takes_everything_back(world, mode, policy):
    nodes, opacity = node_ids(world.scene), world.node.GetDisplayNode().GetSegmentOpacity3D("a")
    done = review(world, refined("a", WIDER), refined("c", box((15, 26))), resultMode=mode, overlapPolicy=policy)
    done.setOpacity(0.2, 0.7)
    done.blend("a", 0.6)
    done.undo()
    assert_voxels(world.node, **ORGANS)
    assert node_ids(world.scene) == nodes
    assert world.node.GetDisplayNode().GetSegmentOpacity3D("a") == opacity


def test_the_change_map_stands_for_given_and_refined_segments_in_3d(world):
    done = review(world, refined("a", WIDER))
    (row,) = done.summary()
    model = world.scene.GetNodeByID(row.modelNodeId).GetDisplayNode()
    assert not model.GetVisibility()
    done.setOpacity(0.2, 0.7, True)
    display = shown_display(world.node)
    assert model.GetVisibility()
    assert display.GetSegmentOpacity3D("a") == 0.0 and display.GetSegmentOpacity2DOutline("a") == 0.2
    assert display.GetSegmentOpacity3D("a_refined") == 0.0 and display.GetSegmentOpacity2DFill("a_refined") == 0.7
    assert model.GetOpacity() == 0.7
    done.setOpacity(0.2, 0.7)
    assert display.GetSegmentOpacity3D("a_refined") == 0.7 and not model.GetVisibility()
    assert display.GetSegmentOpacity3D("a") == 0.2


def test_reject_takes_one_result_back_and_leaves_the_other(world):
    done = review(world, refined("a", box((2, 9))), refined("c", box((18, 26))))
    done.reject("a")
    assert_voxels(world.node, a=ORGANS["a"], b=ORGANS["b"], c=ORGANS["c"], c_refined=box((18, 26)))
    assert [row.state for row in done.summary()] == ["rejected", "pending"]
    assert done.nextLargestChange().segmentId == "c"
    with pytest.raises(RefinementError, match="rejected"):
        done.blend("a", 0.5)
    done.accept("c")
    assert [row.state for row in done.summary()] == ["rejected", "accepted"]


def test_organs_refined_together_never_overlap_whatever_is_blended_or_rejected(world):
    moved = refined("a", box((3, 8))), refined("b", box((8, 17)))  # the border between them moves by two voxels
    done = review(world, *moved, resultMode=IN_PLACE)
    for act in (lambda: done.blend("a", 0.0), lambda: done.blend("b", 0.3), lambda: done.reject("a")):
        act()
        found = voxels(world.node)
        assert not (found["a"] & found["b"]).any()
    assert np.array_equal(found["a"], ORGANS["a"])


def test_changes_come_in_the_order_of_their_size_in_world_coordinates(world):
    import vtk

    transform = world.scene.AddNewNodeByClass("vtkMRMLTransformNode")
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(2, 3, 100.0)
    transform.SetMatrixTransformToParent(matrix)
    result = refined("a", WIDER)
    world.node.SetAndObserveTransformNodeID(transform.GetID())
    done = review(world, result)
    first = done.nextLargestChange()
    point = np.add(result.surface.GetPoint(0), (0, 0, 100.0))
    assert first.changeMm == 3.0 and np.allclose(first.positionRas, point)
    assert done.nextLargestChange().changeMm == -1.0


def test_the_largest_changes_are_places_apart_in_the_order_of_their_size(rng):
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk

    points, moved = rng.uniform(0, 60, size=(20_000, 3)), rng.normal(size=20_000)
    surface, vtk_points = vtk.vtkPolyData(), vtk.vtkPoints()
    vtk_points.SetData(numpy_to_vtk(points, deep=True))
    surface.SetPoints(vtk_points)
    array = numpy_to_vtk(moved, deep=True)
    array.SetName(CHANGE)
    surface.GetPointData().AddArray(array)
    expected = []  # point after point
    for index in np.argsort(-np.abs(moved)):
        if abs(moved[index]) >= 0.5 and all(np.linalg.norm(points[index] - points[other]) > 15 for other in expected):
            expected.append(index)
    found = largestChanges(surface)
    assert [change for _point, change in found] == [moved[index] for index in expected[:20]]
    assert np.allclose([point for point, _change in found], points[expected[:20]])


def test_the_change_map_is_a_model_under_the_transform_with_colours_of_its_own(world):
    transform = world.scene.AddNewNodeByClass("vtkMRMLTransformNode")
    world.node.SetAndObserveTransformNodeID(transform.GetID())
    done = review(world, refined("a", WIDER))
    done.setOpacity(0.3, 1.0, True)
    (row,) = done.summary()
    model = world.scene.GetNodeByID(row.modelNodeId)
    display = model.GetDisplayNode()
    assert model.GetParentTransformNode() is transform and changes(model.GetPolyData()).max() == 3.0
    assert display.GetActiveScalarName() == CHANGE and display.GetScalarVisibility()
    assert display.GetVisibility2D()  # in slice views, too
    low, high = display.GetScalarRange()
    assert low == -high and display.GetColorNode().GetNumberOfColors() == 256


def test_closed_surfaces_get_the_refined_surface_itself(world):
    node = world.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "surfaces")
    node.SetSourceRepresentationToClosedSurface()
    source = slicer.vtkSegment()
    source.SetName("organ a")
    newSegment(node.GetSegmentation(), source, "a", ORGANS["a"], GRID)
    before = node.GetSegmentation().GetSegment("a").GetRepresentation(SURFACE).GetNumberOfPoints()
    result = refined("a", WIDER)
    done = Review(world.scene, node, [result], RefinementOptions(resultMode=IN_PLACE), np.eye(4))
    segment = node.GetSegmentation().GetSegment("a")
    assert segment.GetRepresentation(SURFACE).GetBounds() == result.surface.GetBounds()
    done.blend("a", 0.5)
    assert segment.GetRepresentation(SURFACE).GetBounds() != result.surface.GetBounds()
    done.undo()
    assert segment.GetRepresentation(SURFACE).GetNumberOfPoints() == before
    assert segment.GetRepresentation(LABELMAP) is None


def test_a_deleted_segmentation_is_told_and_undo_still_cleans_up(world):
    nodes = [name for name in node_ids(world.scene) if "Segmentation" not in name]
    done = review(world, refined("a", WIDER))
    display = world.node.GetDisplayNode()
    done.setOpacity(0.5, 0.5)
    world.scene.RemoveNode(world.node)
    world.scene.RemoveNode(display)
    for act in (lambda: done.blend("a", 0.5), lambda: done.reject("a"), lambda: done.setOpacity(0.5, 0.5)):
        with pytest.raises(RefinementError, match="no longer in the scene"):
            act()
    assert done.summary()[0].name == "organ a"
    done.undo()
    assert node_ids(world.scene) == nodes
