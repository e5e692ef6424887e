"""The panel as the application opens it: its .ui under a real Qt, real parameter node, real scene, scripted tasks."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("slicer", reason="the panel's tests need slicer-core")
pytest.importorskip("PySide6", reason="the panel's tests need PySide6-Essentials")

from Testing.Slicer import pythonqt, slicer_python
from Testing.Slicer.scripted_task import ROW, ScriptedTask, Status, done_task

slicer_python.install()

import qt
from ReShapeITPanel import dependencies
from ReShapeITPanel.dependencies import Missing
from ReShapeITPanel.review.table import cellText
from ReShapeITPanel.runControl import progressText, timeLeftText
from ReShapeITSlicer.options import IN_PLACE, NEW_SEGMENTS

MODULE = slicer_python.ROOT / "ReShapeIT"
UI_FILE = MODULE / "Resources" / "UI" / "ReShapeIT.ui"
LIVER = "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure~"
LIVER += "SCT^10200004^Liver~^^~Anatomic codes - DICOM master list~^^~^^"


@dataclass
class World:
    """The opened panel with everything that is around it."""

    application: object
    widget: object
    node: object
    tasks: list

    @property
    def panel(self):
        return self.widget.panel

    @property
    def ui(self):
        return self.widget.ui

    @property
    def parameters(self):
        return self.widget._parameterNode

    @property
    def scene(self):
        return self.application.scene


def add_segment(node, segment_id: str, name: str) -> None:
    """A segment without voxels: the panel only looks at names, colours and codes."""
    node.GetSegmentation().AddEmptySegment(segment_id, name, [0.2, 0.4, 0.6])


def organs(application):
    """A segmentation with a liver, a segment without a known organ, a lung lobe."""
    node = application.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "organs")
    for segmentId, name in (("a", "Segment_1"), ("b", "something"), ("c", "right middle lobe")):
        add_segment(node, segmentId, name)
    node.GetSegmentation().GetSegment("a").SetTerminology(LIVER)
    return node


@pytest.fixture
def world(application, monkeypatch):
    """The panel, opened, over a scene with three segments."""
    monkeypatch.setattr(dependencies, "missingPackages", Missing)
    node = organs(application)
    around = World(application, application.open(), node, [])

    def create(segmentationNode, templates, options, volumeNode=None):
        task = around.tasks.pop(0)
        task.made = (segmentationNode, templates, options, volumeNode)
        return task

    around.widget.logic.createTask = create
    return around


def top_of(world):
    """What the panel lies in, shown."""
    world.widget.parent.show()
    return world.widget.parent


def finished(world, task) -> ScriptedTask:
    """The task, run to its end in the panel with the liver checked."""
    world.tasks.append(task)
    world.panel.segments.check(["a"])
    world.ui.refineButton.click()
    while world.panel.run.isRunning:
        world.panel.run.poll()
    return task


def test_every_widget_that_the_code_names_is_in_the_ui_file(world):
    sources = [MODULE / "ReShapeIT.py", *sorted((MODULE / "ReShapeITPanel").rglob("*.py"))]
    sources = [path for path in sources if path.parent.name != "effect"]  # it has a file of its own
    named = {name for path in sources for name in re.findall(r"ui\.([A-Za-z]\w*)", path.read_text(encoding="utf-8"))}
    assert len(named) > 20
    assert sorted(named - set(vars(world.ui))) == []


def test_every_connected_parameter_is_one_of_the_parameter_node():
    text = UI_FILE.read_text(encoding="utf-8")
    connected = re.findall(r'SlicerParameterName" stdset="0">\s*<string[^>]*>(\w+)<', text)
    source = (MODULE / "ReShapeITPanel" / "parameterNode.py").read_text(encoding="utf-8")
    declared = set(re.findall(r"^    (\w+): ", source, re.MULTILINE))
    assert connected and set(connected) <= declared and len(set(connected)) == len(connected)
    assert declared - set(connected) == {
        "selected",
        "templates",
        "volumeProposedFor",
        "belongs",
        "belongsNot",
    }  # tables, proposals and points


def test_all_texts_of_the_panel_explain_themselves(world):
    controls = [w for name, w in vars(world.ui).items() if name.endswith(("Button", "ComboBox", "CheckBox"))]
    assert len(controls) > 15
    own = [widget for widget in controls if "Collapsible" not in widget.name and not widget.name.startswith("qt_")]
    assert not [widget.name for widget in own if not widget.toolTip]
    assert "not a medical device" in world.ui.noticeLabel.text


def test_the_organ_is_proposed_from_code_or_name_and_left_open_otherwise(world):
    assert world.panel.segments.templates() == {"a": "liver", "b": "", "c": "lung_middle_lobe_right"}
    assert world.ui.segmentTable.item(0, 2).text() == "CC-BY-4.0"
    assert "non-commercial" in world.ui.segmentTable.item(2, 2).text()
    assert world.parameters.templates == world.panel.segments.templates()


def test_refine_says_what_is_missing_until_nothing_is(world):
    assert "Check" in world.panel.problem() and not world.ui.refineButton.enabled
    world.panel.segments.check(["a", "b"])
    assert "organ" in world.panel.problem()
    world.panel.segments.check(["a"])
    assert world.panel.problem() == "" and world.ui.refineButton.enabled


def test_a_click_on_a_box_selects_the_segment(world):
    world.ui.segmentTable.item(0, 0).setCheckState(qt.Qt.Checked)
    assert list(world.parameters.selected) == ["a"] and world.ui.refineButton.enabled


def test_the_user_chooses_another_template_and_it_is_kept_with_the_scene(world):
    box = world.ui.segmentTable.cellWidget(1, 1)
    box.currentIndex = box.findData("spleen")
    assert world.parameters.templates["b"] == "spleen" and world.ui.segmentTable.item(1, 2).text() == "CC-BY-4.0"
    world.panel.setParameters(world.parameters)
    assert world.panel.segments.templates()["b"] == "spleen"


def test_the_table_follows_what_a_script_sets_in_the_parameter_node(world):
    world.parameters.templates = {"a": "spleen", "b": "pancreas", "c": ""}
    assert world.panel.segments.templates() == {"a": "spleen", "b": "pancreas", "c": ""}
    world.parameters.selected = ["b"]
    assert world.panel.segments.selected() == ["b"] and world.ui.refineButton.enabled
    world.parameters.templates["c"] = "liver"
    assert world.panel.segments.templates()["c"] == "liver"


def test_a_template_that_is_not_installed_is_named_and_not_lost(world):
    world.parameters.templates = {"a": "heart_of_another_person", "b": "", "c": ""}
    world.parameters.selected = ["a"]
    assert world.parameters.templates["a"] == "heart_of_another_person"
    assert "heart of another person is not installed" in world.panel.problem()
    assert "(not installed)" in world.ui.segmentTable.cellWidget(0, 1).currentText


def test_segments_without_name_or_colour_are_shown_by_their_ids(world):
    import slicer

    nameless = slicer.vtkSegment()
    nameless.SetColor(-1, -1, -1)
    world.node.GetSegmentation().AddSegment(nameless, "nobody")
    nameless.SetName(None)
    world.panel.refresh()
    assert world.ui.segmentTable.item(3, 0).text() == "nobody"


def test_another_segmentation_starts_with_its_own_proposals(world):
    world.panel.segments.check(["a"])
    other = world.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "other")
    add_segment(other, "a", "pancreas")
    world.ui.segmentationSelector.setCurrentNode(other)
    assert world.panel.segments.templates() == {"a": "pancreas"}
    assert world.panel.segments.selected() == ["a"]  # the only organ that was recognised
    world.ui.segmentationSelector.setCurrentNode(None)
    assert world.ui.segmentTable.rowCount == 0 and "Select" in world.panel.problem()


def test_the_task_gets_segments_templates_and_options(world):
    from ReShapeITPanel.choices import Device, Preset, ResultMode

    world.parameters.preset, world.parameters.device = Preset.DRAFT, Device.CPU
    world.parameters.resultMode, world.parameters.keepUnion = ResultMode.IN_PLACE, True
    node, templates, options, volume = finished(world, done_task()).made
    assert node is world.node and volume is None and templates == {"a": "liver"}
    assert (options.preset, options.device, options.resultMode, options.keepUnion) == ("draft", "cpu", IN_PLACE, True)
    assert not options.nonCommercial and ResultMode.NEW_SEGMENTS.value == NEW_SEGMENTS


def test_a_non_commercial_template_must_be_confirmed_once_for_each_user(world):
    world.panel.segments.check(["c"])
    top_of(world)
    assert world.ui.nonCommercialCheckBox.visible and "CC-BY-NC-SA-4.0" in world.ui.licenceLabel.text
    assert "non-commercial" in world.panel.problem().lower()
    world.ui.nonCommercialCheckBox.checked = True
    assert world.panel.problem() == "" and world.panel.options().nonCommercial
    world.application.close_scene()
    node = organs(world.application)
    world.ui.segmentationSelector.setCurrentNode(node)
    world.panel.segments.check(["c"])
    assert world.panel.problem() == ""


def test_the_confirmation_is_the_users_and_no_part_of_a_scene(world, tmp_path):
    world.panel.segments.check(["c"])
    world.ui.nonCommercialCheckBox.checked = True
    text = world.application.save(tmp_path / "scene").read_text()
    assert "onCommercial" not in text


def test_progress_is_told_by_the_timer_and_nothing_can_be_changed_meanwhile(world):
    statuses = [Status(fraction=f, secondsLeft=10 * (1 - f), message="liver") for f in (0.1, 0.5)]
    world.tasks.append(ScriptedTask(course=[*statuses, *([statuses[-1]] * 2), Status("done")]))
    world.panel.segments.check(["a"])
    world.ui.refineButton.click()
    assert not world.ui.refineButton.enabled and world.ui.cancelButton.enabled
    assert not world.ui.segmentTable.enabled and not world.ui.optionsCollapsibleButton.enabled
    seen = []

    def ended() -> bool:
        seen.append((world.ui.progressBar.value, world.ui.statusLabel.text))
        return not world.panel.run.isRunning

    world.application.wait(ended)
    assert {value for value, _ in seen} == {0, 100, 500, 1000}
    assert any("Fitting the template, liver, about 5 s left" in text for _, text in seen)
    assert world.ui.refineButton.enabled and not world.ui.cancelButton.enabled


def test_cancel_stops_the_task_and_says_that_nothing_happened(world):
    world.tasks.append(ScriptedTask(course=[Status(fraction=0.3)]))
    world.panel.segments.check(["a"])
    world.ui.refineButton.click()
    world.panel.run.poll()
    world.ui.cancelButton.click()
    assert not world.panel.run.isRunning and "as it was" in world.ui.statusLabel.text
    assert world.ui.reviewTable.rowCount == 0 and world.ui.progressBar.value == 0


@pytest.mark.parametrize("when", ["at the start", "on the way"])
def test_a_failure_is_one_message_and_the_panel_goes_on(world, when):
    message = "The liver is empty; draw something."
    if when == "at the start":
        finished(world, ScriptedTask(startError=message))
    else:
        finished(world, ScriptedTask(course=[Status("failed", message=message)]))
    assert world.ui.statusLabel.text == message and world.application.dialogs == []
    assert world.ui.refineButton.enabled and not world.ui.reviewCollapsibleButton.enabled


def test_what_nobody_expected_at_the_start_is_told_with_the_log(world):
    def fails(*arguments):
        raise ZeroDivisionError("somewhere")

    world.widget.logic.createTask = fails
    world.panel.segments.check(["a"])
    world.ui.refineButton.click()
    assert "log" in world.ui.statusLabel.text and "ZeroDivisionError" in world.ui.logTextEdit.toPlainText()
    assert world.ui.refineButton.enabled and not world.panel.run.isRunning


def test_the_log_can_be_copied(world):
    finished(world, done_task(log="python 3.12\nreshapeit refine ..."))
    world.ui.copyLogButton.click()
    assert qt.QApplication.clipboard().text() == "python 3.12\nreshapeit refine ..."


def test_the_review_shows_the_numbers_and_the_notices(world):
    finished(world, done_task(notices=("The GPU ran out of memory; going on on the processor.",)))
    texts = [world.ui.reviewTable.item(0, column).text() for column in range(9)]
    assert texts == ["liver", "1500.0", "1550.0", "31.3", "1.23", "0.977", "yes", "–", "to decide"]
    assert "ran out of memory" in world.ui.statusLabel.text
    assert "computed on cpu: no GPU" in world.ui.plausibilityLabel.text
    implausible = SimpleNamespace(**{**vars(ROW), "isPlausible": False, "largestMoveMm": None})
    assert cellText(implausible, "isPlausible") == "look closely" and cellText(implausible, "largestMoveMm") == "–"


def test_accept_and_reject_are_decided_once(world):
    task = finished(world, done_task())
    world.ui.acceptButton.click()
    assert ("accept", "a") in task.calls and world.ui.reviewTable.item(0, 8).text() == "accepted"
    assert not world.ui.acceptButton.enabled and not world.ui.blendSlider.enabled
    task = finished(world, done_task())
    world.ui.rejectButton.click()
    assert ("reject", "a") in task.calls and world.ui.reviewTable.item(0, 8).text() == "rejected"


def test_the_blend_is_made_once_when_the_slider_rests(world):
    task = finished(world, done_task())
    for value in (0.9, 0.7, 0.4):
        world.ui.blendSlider.value = value
    assert not [call for call in task.calls if call[0] == "blend"]
    world.application.wait(lambda: [call for call in task.calls if call[0] == "blend"])
    assert [call for call in task.calls if call[0] == "blend"] == [("blend", "a", 0.4)]


def test_a_blend_that_is_about_to_be_made_goes_before_the_acceptance(world):
    task = finished(world, done_task())
    world.ui.blendSlider.value = 0.4
    world.ui.acceptButton.click()
    decisions = [call for call in task.calls if call[0] in ("blend", "accept")]
    assert decisions == [("blend", "a", 0.4), ("accept", "a")]


def test_opacities_go_to_the_views_and_to_the_parameters(world):
    task = finished(world, done_task())
    world.ui.changeMapCheckBox.checked = False
    world.ui.opacityBeforeSlider.value = 0.25
    assert task.calls[-1] == ("setOpacity", 0.25, 1.0, False) and world.parameters.opacityBefore == 0.25
    world.ui.changeMapCheckBox.checked = True
    assert task.calls[-1] == ("setOpacity", 0.25, 1.0, True)


def test_jumping_to_a_change_moves_the_slice_views_there(world):
    red = world.scene.AddNewNodeByClass("vtkMRMLSliceNode")
    finished(world, done_task())
    world.ui.nextChangeButton.click()
    assert world.ui.changeLabel.text == "8.2 mm inwards"
    np.testing.assert_allclose([red.GetSliceToRAS().GetElement(axis, 3) for axis in range(3)], [1, 2, 3])
    finished(world, done_task(changes=[]))
    world.ui.nextChangeButton.click()
    assert world.ui.changeLabel.text == "nothing moved"


def test_undo_takes_everything_back_and_ends_the_review(world):
    task = finished(world, done_task())
    world.ui.undoButton.click()
    assert ("undo",) in task.calls and world.ui.reviewTable.rowCount == 0
    assert "taken back" in world.ui.statusLabel.text


def test_a_node_that_was_deleted_during_the_review_is_told_in_one_sentence(world):
    task = finished(world, done_task())
    task.reviewError = "The segmentation was deleted; refine again."
    world.ui.acceptButton.click()
    assert world.ui.statusLabel.text == task.reviewError


def test_results_that_are_not_decided_are_not_lost_by_refining_again(world):
    task = finished(world, done_task())
    world.application.answer = False
    world.ui.refineButton.click()
    assert "not decided" in world.application.dialogs[-1] and not world.panel.run.isRunning
    world.application.answer = True
    finished(world, done_task())
    assert ("accept", "a") in task.calls


def test_missing_packages_are_named_and_installed_only_after_a_yes(application, monkeypatch):
    missing = [Missing(["safetensors>=0.4"], torch=True)]
    monkeypatch.setattr(dependencies, "missingPackages", lambda *arguments: missing[-1])
    monkeypatch.setattr(dependencies, "install", lambda wanted, *others: missing.append(Missing()))
    organs(application)
    widget = application.open()
    widget.parent.show()
    assert widget.ui.dependencyFrame.visible
    assert "PyTorch" in widget.ui.dependencyLabel.text and widget.panel.problem() == widget.ui.dependencyLabel.text
    assert widget.ui.installButton.text == "Install"
    application.answer = False
    widget.ui.installButton.click()
    assert len(missing) == 1 and "no image leaves" in application.dialogs[-1]
    application.answer = True
    widget.ui.installButton.click()
    application.wait(lambda: not widget.ui.dependencyFrame.visible)
    assert "installed" in widget.ui.statusLabel.text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, ""), (2, "a few seconds left"), (31, "about 30 s left"), (170, "about 3 min left")],
)
def test_time_left_is_as_exact_as_it_is_known(seconds, text):
    assert timeLeftText(seconds) == text


def test_a_stage_without_a_translation_is_told_by_its_name():
    assert progressText(Status(stage="polish", message="kidney_left")) == "polish, kidney left"


def test_nothing_but_standard_library_slicer_vtk_and_numpy_is_imported_at_file_scope():
    allowed = {"slicer", "vtk", "numpy", "qt", "ctk", "ReShapeITPanel", "ReShapeITSlicer"}
    import ast

    for path in (*MODULE.glob("*.py"), *(MODULE / "ReShapeITPanel").rglob("*.py")):
        for statement in ast.parse(path.read_text(encoding="utf-8")).body:
            names = []
            if isinstance(statement, ast.Import):
                names = [alias.name for alias in statement.names]
            elif isinstance(statement, ast.ImportFrom) and not statement.level:
                names = [statement.module]
            roots = {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names)
            assert roots <= allowed, f"{Path(path).name} imports {roots - allowed} at file scope"


def test_the_panel_tells_which_device_automatic_takes_and_why(world):
    label = world.ui.deviceReasonLabel
    world.application.wait(lambda: label.text)
    assert re.fullmatch(r"Automatic takes (cpu|cuda): .+\.", label.text)
    top_of(world)
    assert label.visible
    assert pythonqt.slot_errors == []


def test_packages_that_do_not_work_are_told_and_installed_again_after_a_yes(application, monkeypatch):
    from ReShapeITPanel import deviceProbe

    class Probe:
        broken, problem, log = ["safetensors"], "safetensors is installed but does not work: press Reinstall.", "why"

        def poll(self):
            return "", ""

        def close(self):
            pass

    again = []
    monkeypatch.setattr(dependencies, "missingPackages", lambda *arguments: Missing())
    monkeypatch.setattr(deviceProbe, "DeviceProbe", Probe)
    monkeypatch.setattr(dependencies, "reinstall", lambda names, *others: again.append(names) or "Restart Slicer.")
    widget = application.open()
    widget.parent.show()
    application.wait(lambda: widget.ui.dependencyFrame.visible)
    assert widget.panel.problem() == Probe.problem and not widget.ui.installButton.visible
    assert "why" in widget.ui.logTextEdit.toPlainText()
    application.answer = False
    widget.ui.reinstallButton.click()
    assert again == [] and "safetensors" in application.dialogs[-1]
    application.answer = True
    widget.ui.reinstallButton.click()
    assert again == [["safetensors"]] and widget.ui.statusLabel.text == "Restart Slicer."


def test_the_versions_of_the_packages_are_shown(world):
    import torch

    assert f"PyTorch {torch.__version__}" in world.ui.versionsLabel.text
    assert "safetensors" in world.ui.versionsLabel.text


def test_a_double_click_on_a_row_centres_the_views_on_the_segment(application, monkeypatch):
    from Testing.Slicer.organs import CENTRE, add_organs

    monkeypatch.setattr(dependencies, "missingPackages", lambda *arguments: Missing())
    add_organs(application.scene, ("liver",))
    red = application.scene.AddNewNodeByClass("vtkMRMLSliceNode")
    widget = application.open()
    widget.ui.segmentTable.cellDoubleClicked(0, 0)
    centre = [red.GetSliceToRAS().GetElement(axis, 3) for axis in range(3)]
    np.testing.assert_allclose(centre, CENTRE, atol=6)


def test_show_3d_makes_the_surfaces_and_hides_them_again(application, monkeypatch):
    from Testing.Slicer.organs import add_organs

    monkeypatch.setattr(dependencies, "missingPackages", lambda *arguments: Missing())
    node, _grid, _masks = add_organs(application.scene, ("liver",))
    widget = application.open()
    assert widget.ui.show3DButton.enabled and not widget.ui.show3DButton.checked
    widget.ui.show3DButton.click()
    assert node.GetSegmentation().ContainsRepresentation("Closed surface") and widget.ui.show3DButton.checked
    widget.ui.show3DButton.click()
    assert not node.GetDisplayNode().GetVisibility3D()
