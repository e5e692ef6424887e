"""Decisions about suggestions in a real scene: taken, left, undone, clicked, with voxels that are known."""

from __future__ import annotations

import csv

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="the scene side needs slicer-core")

from ReShapeITSlicer.errors import RefinementError
from ReShapeITSlicer.exchange.folders import newFolder
from ReShapeITSlicer.options import IN_PLACE, KEEP_NEIGHBOURS, NEW_SEGMENTS, TAKE_FROM_NEIGHBOURS
from ReShapeITSlicer.review.changeMap import CHANGE
from ReShapeITSlicer.review.export import writeSuggestions
from ReShapeITSlicer.suggestions.choices import Choices
from ReShapeITSlicer.suggestions.outline import NAME, SuggestionOutline
from ReShapeITSlicer.suggestions.suggestion import Suggestion, inOrder, suggestionsOf

from Testing.Slicer.answering_boxes import ADDED, FAR, REMOVED, entries, organ_with, reviewed
from Testing.Slicer.refined_boxes import MATRIX, ORGANS, node_ids, voxels, world_of_boxes


@pytest.fixture
def world(tmp_path):
    return world_of_boxes(tmp_path)


def now(world, name="a_refined") -> np.ndarray:
    return voxels(world.node)[name]


def suggestion(**values) -> Suggestion:
    given = {"segmentId": "a", "number": 1, "kind": "missing", "volumeMl": 1.0, "centreRas": (0, 0, 0)}
    return Suggestion(**{**given, "probability": 0.5, "taken": False, **values})


def test_what_matters_comes_first():
    """Most mL that are to be expected wrong: large and unsure, or likely and left."""
    small_sure = suggestion(number=1, volumeMl=1.0, probability=0.95, taken=True)
    large_sure = suggestion(number=2, volumeMl=10.0, probability=0.95, taken=True)
    likely_left = suggestion(number=3, volumeMl=2.0, probability=0.55)
    unlikely_left = suggestion(number=4, volumeMl=2.0, probability=0.1)
    order = [one.number for one in inOrder([small_sure, large_sure, likely_left, unlikely_left])]
    assert order == [3, 2, 4, 1]


@pytest.mark.parametrize(
    ("evidence", "word"),
    [
        ({"network": 1.0, "spread": 0.2, "depth": 1.0, "unlike": 0.8}, "shape"),
        ({"field": 1.0, "depth": 1.0, "unlike": 0.8}, "shape"),
        ({"network": 1.0, "image": 0.9, "depth": 1.0}, "both"),
        ({"network": 1.0, "image": -0.9, "depth": 1.0}, "shape, not image"),
    ],
)
def test_the_evidence_is_told_in_a_word(evidence, word):
    assert suggestion(evidence=evidence).evidenceText() == word


def test_the_report_is_read_and_an_unknown_kind_is_told_by_its_name():
    one = suggestionsOf("a", [{**entries()[0], "kind": "border_section"}])[0]
    assert (one.number, one.kindText(), one.taken) == (1, "border section", True)


def test_taking_and_leaving_changes_exactly_these_voxels(world):
    one = reviewed(world)
    assert np.array_equal(now(world), organ_with([1]))
    one.deciding.decide("a", 2, True)
    one.deciding.settle()
    assert np.array_equal(now(world), organ_with([1, 2]))
    one.deciding.decide("a", 1, False)
    one.deciding.settle()
    assert np.array_equal(now(world), organ_with([2])) and np.array_equal(voxels(world.node)["a"], ORGANS["a"])
    states = {each.number: (each.taken, each.byHand) for each in one.deciding.suggestions()}
    assert states == {1: (False, True), 2: (True, True), 3: (False, False)}


def test_what_lies_far_beyond_the_box_is_taken_whole_and_goes_again(world):
    one = reviewed(world)
    one.deciding.decide("a", 3, True)
    one.deciding.settle()
    assert (now(world) & FAR).sum() == FAR.sum()
    assert one.review.summary()[0].volumeAfterMl > one.review.summary()[0].volumeBeforeMl
    one.review.reject("a")
    assert sorted(voxels(world.node)) == ["a", "b", "c"]


@pytest.mark.parametrize("policy", [KEEP_NEIGHBOURS, TAKE_FROM_NEIGHBOURS])
def test_neighbours_keep_or_give_their_voxels_as_they_are_decided(world, policy):
    one = reviewed(world, resultMode=IN_PLACE, overlapPolicy=policy)
    for number in (3, 1):
        one.deciding.decide("a", number, True)
    one.deciding.settle()
    before, after = ORGANS["b"], voxels(world.node)
    if policy == KEEP_NEIGHBOURS:
        assert np.array_equal(after["b"], before) and not (after["a"] & before).any()
    else:
        assert np.array_equal(after["b"], before & ~ADDED)
    one.deciding.decide("a", 1, False)
    one.deciding.settle()
    assert np.array_equal(voxels(world.node)["b"], before)
    one.review.undo()
    assert all(np.array_equal(voxels(world.node)[name], mask) for name, mask in ORGANS.items())


def test_the_slider_moves_all_that_nobody_decided(world):
    one = reviewed(world)
    one.deciding.decide("a", 2, False)
    one.deciding.setLeast(0.2)
    one.deciding.settle()
    assert np.array_equal(now(world), organ_with([1, 3]))
    one.deciding.setLeast(0.9)
    one.deciding.settle()
    assert np.array_equal(now(world), ORGANS["a"])


def test_a_slider_that_moves_is_one_step_of_undo(world):
    one = reviewed(world)
    for least in (0.5, 0.4, 0.3, 0.2):
        one.deciding.setLeast(least)
    one.deciding.settle()
    assert np.array_equal(now(world), organ_with([1, 2, 3]))
    assert one.deciding.undo() and not one.deciding.choices.canUndo
    one.deciding.settle()
    assert np.array_equal(now(world), organ_with([1]))
    assert one.deciding.redo()
    one.deciding.settle()
    assert np.array_equal(now(world), organ_with([1, 2, 3]))


def test_ten_undos_end_at_the_engines_own_choice(world):
    one = reviewed(world)
    for number, take in ((1, False), (2, True), (3, True), (2, False), (1, True)) * 2:
        one.deciding.decide("a", number, take)
        one.deciding.settle()
    for _ in range(10):
        assert one.deciding.undo()
    assert not one.deciding.undo()
    one.deciding.settle()
    assert np.array_equal(now(world), organ_with([1]))


def test_a_new_decision_forgets_what_was_undone():
    choices = Choices()
    choices.decide("a", 1, True)
    choices.undo()
    choices.decide("a", 2, True)
    assert not choices.canRedo and dict(choices.now.byHand) == {("a", 2): True}


def test_while_an_answer_is_on_its_way_only_the_last_decision_is_asked_for(world):
    one = reviewed(world)
    one.deciding.settle()
    one.engine.asked.clear()
    one.engine.held = True
    one.deciding.decide("a", 2, True)
    one.deciding.poll()
    for least in (0.6, 0.5, 0.4, 0.2):
        one.deciding.setLeast(least)
        one.deciding.poll()
    assert len(one.engine.asked) == 1
    one.engine.held = False
    one.deciding.settle()
    assert [sorted(asked["taken"]) for asked in one.engine.asked] == [[1, 2], [1, 2, 3], [1, 2, 3]]
    assert ["surface" in asked for asked in one.engine.asked] == [False, False, True], "the surface comes at rest"


def test_the_surface_and_its_change_follow(world):
    one = reviewed(world)
    one.deciding.decide("a", 2, True)
    one.deciding.settle()
    row = one.review.summary()[0]
    assert (row.largestMoveMm, row.meanMoveMm) == (pytest.approx(2.0), pytest.approx(2.0))
    surface = world.scene.GetNodeByID(row.modelNodeId).GetPolyData()
    assert surface.GetPointData().GetArray(CHANGE).GetRange() == (2.0, 2.0)
    places = MATRIX @ np.append(np.argwhere(organ_with([1, 2]))[:, ::-1].T, np.ones((1, organ_with([1, 2]).sum())), 0)
    middle = 0.5 * (places[:3].min(axis=1) + places[:3].max(axis=1))
    assert np.abs(np.array(surface.GetBounds()).reshape(3, 2).mean(axis=1) - middle).max() < 1.5


def area_of(world, segment_id: str = "a_refined") -> float:
    """Area of a segment's closed surface, mm2."""
    import vtk

    mass = vtk.vtkMassProperties()
    mass.SetInputData(world.node.GetSegmentation().GetSegment(segment_id).GetRepresentation("Closed surface"))
    return mass.GetSurfaceArea()


@pytest.mark.parametrize("accepted", [False, True])
def test_the_segments_closed_surface_follows_its_voxels(world, accepted):
    """A moment later, or at once where the result is accepted before."""
    world.node.CreateClosedSurfaceRepresentation()
    one = reviewed(world)
    one.deciding.settle()
    before = area_of(world)
    one.deciding.decide("a", 2, True)
    one.deciding.poll()
    one.deciding.poll()
    assert np.array_equal(now(world), organ_with([1, 2])) and area_of(world) == before
    if accepted:
        one.review.accept("a")
    one.deciding.settle()
    assert area_of(world) != before


def test_a_point_in_a_suggestion_decides_it_and_elsewhere_makes_one(world):
    one = reviewed(world)
    inside = (MATRIX @ [*np.argwhere(REMOVED)[0][::-1], 1.0])[:3]
    one.deciding.setPoints("a", (), [inside])
    one.deciding.settle()
    assert np.array_equal(now(world), organ_with([1, 2]))
    assert {each.number: each.taken for each in one.deciding.suggestions()} == {1: True, 2: True, 3: False}
    one.deciding.decide("a", 2, False)  # the point says otherwise, and so does the list
    one.deciding.settle()
    assert one.deciding.find("a", 2).taken and np.array_equal(now(world), organ_with([1, 2]))
    one.deciding.undo()
    elsewhere = (MATRIX @ [20, 22, 18, 1.0])[:3]
    one.deciding.setPoints("a", [elsewhere], ())
    one.deciding.settle()
    clicked = [each for each in one.deciding.suggestions() if each.isClicked]
    assert len(clicked) == 1 and clicked[0].evidenceText() == "points" and now(world)[18, 22, 20]
    with pytest.raises(RefinementError, match="move or delete the point"):
        one.deciding.decide("a", clicked[0].number, False)
    one.deciding.setPoints("a", (), ())
    one.deciding.settle()
    assert np.array_equal(now(world), organ_with([1])) and len(one.deciding.suggestions()) == 3


def test_points_and_centres_follow_a_segmentation_that_was_moved_meanwhile(world):
    import vtk

    turned, matrix = np.array([[0, -1, 0, 7.0], [1, 0, 0, -3.0], [0, 0, 1, 100.0], [0, 0, 0, 1.0]]), vtk.vtkMatrix4x4()
    one = reviewed(world)
    matrix.DeepCopy(turned.ravel().tolist())
    transform = world.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(matrix)
    world.node.SetAndObserveTransformNodeID(transform.GetID())
    inside = (turned @ MATRIX @ [*np.argwhere(REMOVED)[0][::-1], 1.0])[:3]
    one.deciding.addPoints("a", exclude=[inside])
    one.deciding.settle()
    assert np.array_equal(now(world), organ_with([1, 2]))
    first = one.deciding.find("a", 1)
    np.testing.assert_allclose(one.deciding.centreOf(first), (turned @ [*first.centreRas, 1.0])[:3], atol=1e-6)


def test_an_error_of_the_engine_leaves_the_scene_and_the_choice_as_they_were(world):
    one = reviewed(world)
    one.deciding.settle()
    one.engine.error = "The points contradict each other; take one away."
    one.deciding.decide("a", 2, True)
    with pytest.raises(RefinementError, match="contradict"):
        one.deciding.settle()
    assert np.array_equal(now(world), organ_with([1])) and not one.deciding.isBusy
    assert {each.number for each in one.deciding.suggestions() if each.taken} == {1}
    one.engine.error = ""
    one.deciding.decide("a", 2, True)
    one.deciding.settle()
    assert np.array_equal(now(world), organ_with([1, 2]))


def test_an_engine_that_is_gone_is_told_once_and_the_results_stay(world):
    one = reviewed(world)
    one.deciding.settle()
    one.engine.gone = True
    one.deciding.decide("a", 2, True)
    with pytest.raises(RefinementError, match="gone"):
        one.deciding.settle()
    assert not one.deciding.canDecide and one.deciding.poll() is False
    assert np.array_equal(now(world), organ_with([1]))
    with pytest.raises(RefinementError, match="does not answer"):
        one.deciding.decide("a", 2, True)
    one.review.accept("a")
    assert one.review.summary()[0].state == "accepted"


@pytest.mark.parametrize("decision", ["accept", "reject"])
def test_suggestions_about_a_decided_organ_stay(world, decision):
    one = reviewed(world)
    getattr(one.review, decision)("a")
    with pytest.raises(RefinementError, match=f"'organ a' was {decision}ed"):
        one.deciding.decide("a", 2, True)
    assert not one.deciding.isBusy


def test_the_scene_is_as_it_was_after_undo_all(world):
    before = node_ids(world.scene)
    one = reviewed(world, resultMode=NEW_SEGMENTS)
    one.deciding.decide("a", 3, True)
    one.deciding.settle()
    one.review.undo()
    one.deciding.close()
    assert node_ids(world.scene) == before and sorted(voxels(world.node)) == ["a", "b", "c"]


def test_a_scene_that_closes_ends_the_decisions(world):
    one = reviewed(world)
    one.deciding.decide("a", 3, True)
    world.scene.Clear(0)
    assert not one.deciding.isBusy and one.deciding.poll() is False


def test_the_folder_of_the_refinement_goes_with_the_decisions(world, tmp_path):
    folder = newFolder(str(tmp_path))
    one = reviewed(world, folder=folder)
    one.deciding.decide("a", 2, True)
    one.deciding.settle()
    assert list(folder.glob("*.nrrd"))
    one.deciding.close()
    assert not folder.exists()


def test_the_outline_shows_exactly_the_voxels_of_a_suggestion_and_is_not_saved(world):
    one, before = reviewed(world), node_ids(world.scene)
    one.deciding.settle()
    outline = SuggestionOutline(world.scene, world.node)
    for number, mask in ((2, REMOVED), (3, FAR)):
        outline.show(*one.deciding.regionOf(one.deciding.find("a", number)))
        node = world.scene.GetFirstNodeByName(NAME)
        assert np.array_equal(voxels(node)["suggestion"], mask) and not node.GetSaveWithScene()
    outline.close()
    assert node_ids(world.scene) == before


def test_the_list_is_exported_beside_the_table(world, tmp_path):
    one = reviewed(world)
    one.deciding.decide("a", 2, True)
    path = writeSuggestions(tmp_path / "review.csv", one.deciding.suggestions(), {"a": "organ a"})
    assert path.name == "review_suggestions.csv"
    with open(path, newline="", encoding="utf-8") as file:
        rows = {row["Number"]: row for row in csv.DictReader(file)}
    assert rows["2"]["Taken"] == "yes" and rows["2"]["Decided"] == "by hand" and rows["2"]["Segment"] == "organ a"
    assert rows["1"]["Evidence"] == "shape" and float(rows["1"]["Probability"]) == 0.7
