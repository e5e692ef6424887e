"""The module in an application: opened, left, saved, loaded, refined in, cancelled, closed while it runs."""

from __future__ import annotations

import sys

import numpy as np
import psutil
import pytest

pytest.importorskip("slicer", reason="the Slicer side needs slicer-core")
pytest.importorskip("PySide6", reason="the panel needs PySide6-Essentials")

from Testing.Slicer import pythonqt
from Testing.Slicer.organs import add_organs, dice
from Testing.Slicer.scripted_task import ScriptedTask, Status, done_task
from Testing.tiny_template import ORGAN


@pytest.fixture
def tiny(application, tiny_template_file, monkeypatch):
    """The application, whose only template is a small one of generated organs."""
    monkeypatch.setenv("RESHAPEIT_TEMPLATES", str(tiny_template_file.parent))
    return application


def opened(application, resultMode=None):
    """The panel over a scene with two damaged organs; widget, node, grid, masks."""
    from ReShapeITPanel.choices import Device, Preset, ResultMode

    node, grid, masks = add_organs(application.scene, (ORGAN, "test organ copy", "something else"))
    widget = application.open()
    parameters = widget._parameterNode
    parameters.preset, parameters.device, parameters.force = Preset.DRAFT, Device.CPU, True
    parameters.resultMode = resultMode or ResultMode.NEW_SEGMENTS
    return widget, node, grid, masks


def choose(widget, *segmentIds) -> None:
    """Check these segments, with the generated template."""
    templates = dict.fromkeys(segmentIds, ORGAN)
    widget._parameterNode.templates = {**dict(widget._parameterNode.templates), **templates}
    widget.panel.segments.check(list(segmentIds))


def refine(application, widget, *segmentIds):
    """Refine in the panel to the end; the task."""
    choose(widget, *segmentIds)
    widget.ui.refineButton.click()
    task = widget.panel.run.task
    assert task is not None, widget.ui.statusLabel.text
    application.wait(lambda: not widget.panel.run.isRunning)
    return task


def engine_of(widget) -> psutil.Process:
    """The process that computes."""
    return psutil.Process(widget.panel.run.task._engine.processId)


def test_the_module_is_listed_with_its_test_and_its_sample(application):
    import slicer

    assert slicer.modules.reshapeit.title == "ReShapeIT" and "ReShapeIT" in slicer.selfTests
    assert [source.sampleName for source in slicer.modules.sampleDataSources["ReShapeIT"]] == ["ReShapeITPatient"]


def test_the_panel_opens_in_an_empty_scene_and_says_what_to_do(application):
    widget = application.open()
    assert widget.ui.segmentTable.rowCount == 0 and "Select a segmentation" in widget.ui.refineButton.toolTip


def test_the_panel_opens_over_a_segmentation_leaves_and_opens_again(tiny):
    widget, _node, _grid, _masks = opened(tiny)
    for _ in range(3):
        assert widget.ui.segmentTable.rowCount == 3
        assert widget.panel.segments.templates()["organ0"] == ORGAN
        tiny.leave()
        tiny.open()
    choose(widget, "organ0")
    tiny.leave()
    tiny.open()
    assert widget.panel.segments.selected() == ["organ0"] and widget.ui.refineButton.enabled


def test_segments_that_are_renamed_added_and_removed_show_in_the_table(tiny):
    widget, node, _grid, _masks = opened(tiny)
    segmentation = node.GetSegmentation()
    choose(widget, "organ0")
    segmentation.GetSegment("organ2").SetName("renamed")
    assert widget.ui.segmentTable.item(2, 0).text() == "renamed"
    segmentation.AddEmptySegment("new", ORGAN, [1, 0, 0])
    assert widget.panel.segments.templates()["new"] == ORGAN and widget.panel.segments.selected() == ["organ0"]
    segmentation.RemoveSegment("organ0")
    assert widget.panel.segments.selected() == [] and not widget.ui.refineButton.enabled
    tiny.scene.RemoveNode(node)
    assert widget.ui.segmentTable.rowCount == 0


def test_choices_come_back_from_a_saved_scene(tiny, tmp_path):
    from ReShapeITPanel.choices import Preset

    widget, _node, _grid, _masks = opened(tiny)
    choose(widget, "organ1")
    path = tiny.save(tmp_path / "saved")
    tiny.close_scene()
    assert widget.ui.segmentTable.rowCount == 0
    tiny.load(path)
    assert widget._parameterNode.segmentation.GetName() == "organs"
    assert widget.panel.segments.selected() == ["organ1"] and widget._parameterNode.preset == Preset.DRAFT
    assert widget.panel.segments.templates()["organ1"] == ORGAN and widget.ui.refineButton.enabled


def test_a_scene_that_is_loaded_while_another_module_is_shown_is_there_on_return(tiny, tmp_path):
    widget, _node, _grid, _masks = opened(tiny)
    choose(widget, "organ1")
    path = tiny.save(tmp_path / "saved")
    tiny.leave()
    tiny.load(path)
    tiny.open()
    assert widget.panel.segments.selected() == ["organ1"]


@pytest.mark.computes
def test_one_segment_is_refined_reviewed_and_accepted(tiny):
    widget, node, grid, masks = opened(tiny)
    task = refine(tiny, widget, "organ0")
    assert task.status.state == "done", task.status.message + task.log
    segmentation = node.GetSegmentation()
    assert segmentation.GetNumberOfSegments() == 4 and widget.ui.reviewTable.rowCount == 1
    (row,) = task.summary()
    after = tiny.mask(node, row.resultSegmentId, grid)
    assert dice(after, masks["truth"]) > dice(masks["organ0"], masks["truth"])
    assert (tiny.mask(node, "organ0", grid) == masks["organ0"]).all()
    widget.ui.nextChangeButton.click()
    assert "mm" in widget.ui.changeLabel.text
    widget.ui.acceptButton.click()
    assert widget.ui.reviewTable.item(0, 8).text() == "accepted" and not widget.panel.review.isOpen
    assert "reshapeit" in widget.ui.logTextEdit.toPlainText().lower()


@pytest.mark.computes
def test_several_segments_are_refined_blended_and_taken_back(tiny):
    widget, node, grid, masks = opened(tiny)
    before, ids = node.GetSegmentation().GetNumberOfSegments(), tiny.node_ids()
    task = refine(tiny, widget, "organ0", "organ1")
    assert task.status.state == "done", task.status.message
    assert widget.ui.reviewTable.rowCount == 2
    full = tiny.mask(node, task.summary()[0].resultSegmentId, grid)
    widget.ui.reviewTable.selectRow(0)
    widget.ui.blendSlider.value = 0.0
    tiny.wait(lambda: not np.array_equal(tiny.mask(node, task.summary()[0].resultSegmentId, grid), full))
    assert np.array_equal(tiny.mask(node, task.summary()[0].resultSegmentId, grid), masks["organ0"])
    widget.ui.rejectButton.click()
    assert node.GetSegmentation().GetNumberOfSegments() == before + 1
    widget.ui.undoButton.click()
    assert node.GetSegmentation().GetNumberOfSegments() == before and tiny.node_ids() == ids
    for segmentId in ("organ0", "organ1", "organ2"):
        assert np.array_equal(tiny.mask(node, segmentId, grid), masks[segmentId])


@pytest.mark.computes
def test_in_place_and_back(tiny):
    from ReShapeITPanel.choices import ResultMode

    widget, node, grid, masks = opened(tiny, ResultMode.IN_PLACE)
    refine(tiny, widget, "organ0")
    assert not np.array_equal(tiny.mask(node, "organ0", grid), masks["organ0"])
    widget.ui.undoButton.click()
    assert np.array_equal(tiny.mask(node, "organ0", grid), masks["organ0"])


@pytest.mark.parametrize("when", ["at once", "after the first stage", "halfway"])
@pytest.mark.computes
def test_cancel_at_each_stage_leaves_the_scene_as_it_was(tiny, when):
    widget, node, _grid, _masks = opened(tiny)
    choose(widget, "organ0")
    ids = tiny.node_ids()
    widget.ui.refineButton.click()
    process = engine_of(widget)
    if when != "at once":
        least = {"after the first stage": 1, "halfway": 400}[when]
        tiny.wait(lambda: widget.ui.progressBar.value >= least)
    widget.ui.cancelButton.click()
    assert not widget.panel.run.isRunning and "as it was" in widget.ui.statusLabel.text
    assert process.is_running(), "it stays for the next refinement"
    assert tiny.node_ids() == ids and node.GetSegmentation().GetNumberOfSegments() == 3
    assert not list((tiny.folder / "temporary").glob("reshapeit-*"))
    if when == "halfway":  # the panel is the same after each
        refine(tiny, widget, "organ0")
        assert widget.ui.reviewTable.rowCount == 1


@pytest.mark.parametrize("what", ["the scene", "the application", "the segmentation"])
@pytest.mark.computes
def test_closing_while_it_runs_ends_the_refinement_and_the_application_its_engine(tiny, what):
    widget, node, _grid, _masks = opened(tiny)
    choose(widget, "organ0")
    widget.ui.refineButton.click()
    process = engine_of(widget)
    if what == "the scene":
        tiny.close_scene()
    elif what == "the application":
        tiny.quit()
    else:
        tiny.scene.RemoveNode(node)
        tiny.wait(lambda: not widget.panel.run.isRunning)
        assert "deleted" in widget.ui.statusLabel.text
    if what == "the application":
        psutil.wait_procs([process], timeout=30.0)
        assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    assert not widget.panel.run.isRunning
    assert not list((tiny.folder / "temporary").glob("reshapeit-*"))


@pytest.mark.computes
def test_an_engine_that_is_killed_during_the_review_is_told_and_the_next_refinement_has_another(tiny):
    widget, node, grid, _masks = opened(tiny)
    task = refine(tiny, widget, "organ0")
    first = psutil.Process(task._engine.processId)
    after = tiny.mask(node, task.summary()[0].resultSegmentId, grid)
    tiny.wait(lambda: not task.deciding.isBusy)
    first.kill()
    first.wait(30.0)
    widget.ui.boldnessSlider.value = 99
    widget.ui.boldnessSlider.value = 1
    tiny.wait(lambda: not task.deciding.isBusy)
    assert np.array_equal(tiny.mask(node, task.summary()[0].resultSegmentId, grid), after)
    widget.ui.acceptButton.click()
    assert widget.ui.reviewTable.item(0, 8).text() == "accepted"
    again = refine(tiny, widget, "organ0")
    assert again.status.state == "done" and again._engine.processId != first.pid


@pytest.mark.computes
def test_a_click_after_a_refinement_with_an_image_is_answered(tiny):
    """The engine reads the image again."""
    widget, _node, _grid, _masks = opened(tiny)
    assert widget._parameterNode.volume.GetName() == "CT"
    task = refine(tiny, widget, "organ0")
    tiny.wait(lambda: not task.deciding.isBusy)
    place = task.review.surfaceOf("organ0").GetPoint(0)
    widget.ui.belongsNotButton.click()
    widget._parameterNode.belongsNot.AddControlPointWorld(*place)
    tiny.wait(lambda: any(one.isClicked for one in task.suggestions()) or "click" in widget.ui.statusLabel.text, 60.0)
    assert "Done" in widget.ui.statusLabel.text
    assert list((tiny.folder / "temporary").glob("reshapeit-*"))
    widget.ui.undoButton.click()
    assert not list((tiny.folder / "temporary").glob("reshapeit-*"))


@pytest.mark.computes
def test_another_module_may_be_shown_while_it_runs(tiny):
    widget, node, _grid, _masks = opened(tiny)
    choose(widget, "organ0")
    widget.ui.refineButton.click()
    tiny.leave()
    tiny.wait(lambda: not widget.panel.run.isRunning)
    tiny.open()
    assert widget.ui.reviewTable.rowCount == 1 and node.GetSegmentation().GetNumberOfSegments() == 4


@pytest.mark.computes
def test_closing_the_scene_during_the_review_leaves_nothing(tiny):
    widget, _node, _grid, _masks = opened(tiny)
    refine(tiny, widget, "organ0")
    tiny.close_scene()
    assert widget.ui.reviewTable.rowCount == 0 and not widget.ui.reviewCollapsibleButton.enabled
    assert tiny.scene.GetNumberOfNodesByClass("vtkMRMLModelNode") == 0


def test_temporary_files_go_where_the_applications_go(tiny):
    widget, _node, _grid, _masks = opened(tiny)
    choose(widget, "organ0")
    widget.ui.refineButton.click()
    (folder,) = (tiny.folder / "temporary").glob("reshapeit-*")
    assert (folder / "input.seg.nrrd").is_file()
    widget.ui.cancelButton.click()
    assert not folder.exists()


def test_cleanup_after_a_setup_that_failed_raises_nothing(application, monkeypatch):
    import slicer

    monkeypatch.setattr(slicer.util, "loadUI", lambda path: (_ for _ in ()).throw(RuntimeError("no such file")))
    widget = application.open()
    assert any("no such file" in error for error in pythonqt.slot_errors)
    pythonqt.slot_errors.clear()
    application.leave()
    application.open()
    application.close_scene()
    widget.cleanup()
    assert application.slot_errors() == []


def test_nothing_is_observed_twice_or_after_the_end(tiny, recwarn):
    widget, _node, _grid, _masks = opened(tiny)
    tiny.leave()
    tiny.close_scene()
    tiny.open()
    tiny.quit()
    assert not [warning for warning in recwarn if "observer" in str(warning.message)]
    assert widget.Observations == []


def test_reload_reads_the_submodules_anew(application):
    import slicer

    widget = application.open()
    old = sys.modules["ReShapeITPanel.panel"]
    widget.onReload()
    assert sys.modules["ReShapeITPanel.panel"] is not old
    new = slicer.modules.ReShapeITWidget
    assert new is not widget and isinstance(new.panel, sys.modules["ReShapeITPanel.panel"].Panel)
    assert new.ui.segmentTable.rowCount == 0


def test_the_console_needs_an_explicit_word_for_non_commercial_templates(application):
    import slicer
    from ReShapeITSlicer.errors import RefinementError

    node, _grid, _masks = add_organs(application.scene, ("lung upper lobe right",))
    application.open()
    logic = slicer.util.getModuleLogic("ReShapeIT")
    with pytest.raises(RefinementError, match="nonCommercial"):
        logic.refine(node, {"organ0": "lung_upper_lobe_right"}, progress=None)


@pytest.mark.computes
def test_the_console_refines_into_the_scene(tiny):
    import slicer

    node, _grid, _masks = add_organs(tiny.scene, (ORGAN,))
    tiny.open()
    logic = slicer.util.getModuleLogic("ReShapeIT")
    options = {"preset": "draft", "device": "cpu", "force": True}
    task = logic.refine(node, {ORGAN: ORGAN}, progress=None, **options)
    assert [row.name for row in task.summary()] == [ORGAN] and "reshapeit" in task.log.lower()


def test_a_task_that_ends_while_the_scene_closes_does_not_come_back(application):
    _node, _grid, _masks = add_organs(application.scene, ("liver",))
    widget = application.open()
    task = ScriptedTask(course=[Status(fraction=0.2)])
    widget.logic.createTask = lambda *arguments: task
    widget.panel.segments.check(["organ0"])
    widget.ui.refineButton.click()
    application.close_scene()
    assert task.status.state == "cancelled"
    application.work(10)
    assert widget.ui.reviewTable.rowCount == 0


def test_an_error_in_the_end_of_a_task_is_told_and_the_panel_goes_on(application):
    add_organs(application.scene, ("liver",))
    widget = application.open()
    tasks = [done_task()]
    widget.logic.createTask = lambda *arguments: tasks[0]
    widget.panel.segments.check(["organ0"])
    widget.ui.refineButton.click()
    application.wait(lambda: not widget.panel.run.isRunning)
    assert widget.ui.reviewTable.rowCount == 1 and widget.ui.refineButton.enabled
