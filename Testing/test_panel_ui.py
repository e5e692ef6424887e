"""The panel: its .ui under a real Qt, and its logic against real widgets and a real Slicer scene."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("slicer", reason="the panel's tests need slicer-core")
pytest.importorskip("PySide6", reason="the panel's tests need PySide6-Essentials")

from Testing.qt_stand_ins import UI_FILE, default_parameters, fill_choices, import_qt, load_panel  # noqa: E402
from Testing.Slicer.scene import new_scene  # noqa: E402

qt = import_qt()

from ReShapeITPanel.dependencies import Missing  # noqa: E402
from ReShapeITPanel.panel import Panel, PanelEnvironment  # noqa: E402
from ReShapeITPanel.reviewTable import cellText  # noqa: E402
from ReShapeITPanel.runControl import progressText, timeLeftText  # noqa: E402
from ReShapeITSlicer.errors import RefinementError  # noqa: E402
from ReShapeITSlicer.options import IN_PLACE, NEW_SEGMENTS  # noqa: E402
from ReShapeITSlicer.templates import availableTemplates  # noqa: E402

MODULE = UI_FILE.parents[2]
LIVER = "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure~"
LIVER += "SCT^10200004^Liver~^^~Anatomic codes - DICOM master list~^^~^^"
ROW = SimpleNamespace(
    segmentId="a", resultSegmentId="a_refined", modelNodeId="", name="liver", organ="liver", volumeBeforeMl=1500.0,
    volumeAfterMl=1550.04, largestMoveMm=31.26, meanMoveMm=1.234, dscToInput=0.97651, plausibility="as in training",
    isPlausible=True, licence="CC-BY-4.0", nonCommercial=False, device="cpu", deviceReason="no GPU", state="pending",
)  # fmt: skip


@dataclass
class Status:
    """As the task's status."""

    state: str = "running"
    stage: str = "fit"
    fraction: float = 0.0
    secondsLeft: float | None = None
    message: str = ""

    @property
    def isFinished(self) -> bool:
        return self.state in ("done", "failed", "cancelled")


@dataclass
class ScriptedTask:
    """A refinement whose course a test writes: one status a poll, then calls are recorded."""

    course: list = field(default_factory=list)
    rows: list = field(default_factory=lambda: [SimpleNamespace(**vars(ROW))])
    startError: str = ""
    reviewError: str = ""
    notices: tuple = ()
    calls: list = field(default_factory=list)
    status: Status = field(default_factory=Status)
    changes: list = field(default_factory=lambda: [SimpleNamespace(segmentId="a", positionRas=(1.0, 2.0, 3.0),
                                                                   changeMm=-8.25)])  # fmt: skip

    def start(self):
        if self.startError:
            raise RefinementError(self.startError)

    def poll(self):
        self.status = self.course.pop(0) if self.course else self.status
        return self.status

    def cancel(self):
        self.status = Status("cancelled", message="Cancelled; the scene is as it was.")

    def summary(self):
        return self.rows

    def nextLargestChange(self):
        return self.changes[0] if self.changes else None

    def __getattr__(self, name):
        def recorded(*arguments):
            if self.reviewError:
                raise RefinementError(self.reviewError)
            self.calls.append((name, *arguments))
            if name in ("accept", "reject"):
                self.rows[0].state = {"accept": "accepted", "reject": "rejected"}[name]

        if name in ("accept", "reject", "blend", "setOpacity", "undo"):
            return recorded
        raise AttributeError(name)


@dataclass
class World:
    """A panel with everything that is around it."""

    panel: Panel
    ui: SimpleNamespace
    parameters: SimpleNamespace
    scene: object
    node: object
    tasks: list
    asked: list
    answers: list
    missing: list
    environment: PanelEnvironment | None = None


def add_segment(node, segment_id: str, name: str) -> None:
    """A segment without voxels: the panel only looks at names, colours and codes."""
    node.GetSegmentation().AddEmptySegment(segment_id, name, [0.2, 0.4, 0.6])


@pytest.fixture
def world(tmp_path):
    """A panel over a scene with three segments: a liver, one without a known organ, a lung lobe."""
    top, ui = load_panel()
    fill_choices(ui)
    slicers = new_scene(tmp_path)
    scene = slicers.scene
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "organs")
    for segmentId, name in (("a", "Segment_1"), ("b", "something"), ("c", "right middle lobe")):
        add_segment(node, segmentId, name)
    node.GetSegmentation().GetSegment("a").SetTerminology(LIVER)
    around = World(None, ui, default_parameters(segmentation=node), scene, node, [], [], [True], [Missing()])

    def create(segmentationNode, templates, options):
        task = around.tasks[0]
        task.made = (segmentationNode, templates, options)
        return around.tasks.pop(0)

    def confirm(text):
        around.asked.append(text)
        return around.answers[-1]

    def install(missing):
        around.missing.append(Missing())

    around.environment = PanelEnvironment(availableTemplates, create, lambda: around.missing[-1], install, confirm)
    around.panel = Panel(ui, scene, around.environment)
    around.panel.setParameters(around.parameters)
    top.show()
    yield around
    around.panel.close()
    top.close()


def finished(world, task) -> ScriptedTask:
    """The task, run to its end in the panel with the liver checked."""
    world.tasks.append(task)
    world.panel.segments.check(["a"])
    world.panel.refine()
    while world.panel.run.isRunning:
        world.panel.run.poll()
    return task


def done_task(**options) -> ScriptedTask:
    return ScriptedTask(course=[Status(fraction=0.5), Status("done", fraction=1.0)], **options)


def test_every_widget_that_the_code_names_is_in_the_ui_file():
    _top, ui = load_panel()
    sources = [MODULE / "ReShapeIT.py", *sorted((MODULE / "ReShapeITPanel").glob("*.py"))]
    named = {name for path in sources for name in re.findall(r"\bui\.([A-Za-z]\w*)", path.read_text(encoding="utf-8"))}
    assert len(named) > 20
    assert sorted(named - set(vars(ui))) == []


def test_every_connected_parameter_is_one_of_the_parameter_node():
    text = UI_FILE.read_text(encoding="utf-8")
    connected = re.findall(r'SlicerParameterName" stdset="0">\s*<string[^>]*>(\w+)<', text)
    source = (MODULE / "ReShapeITPanel" / "parameterNode.py").read_text(encoding="utf-8")
    declared = set(re.findall(r"^    (\w+): ", source, re.MULTILINE))
    assert connected and set(connected) <= declared and len(set(connected)) == len(connected)
    assert declared - set(connected) == {"selected", "templates"}  # those are the table's


def test_all_texts_of_the_panel_explain_themselves():
    _top, ui = load_panel()
    controls = [widget for name, widget in vars(ui).items() if name.endswith(("Button", "ComboBox", "CheckBox"))]
    assert not [w.objectName() for w in controls if not w.toolTip() and "Collapsible" not in w.objectName()
                and not w.objectName().startswith("qt_")]  # fmt: skip
    assert "not a medical device" in ui.noticeLabel.text()


def test_the_organ_is_proposed_from_code_or_name_and_left_open_otherwise(world):
    assert world.panel.segments.templates() == {"a": "liver", "b": "", "c": "lung_middle_lobe_right"}
    assert world.ui.segmentTable.item(0, 2).text() == "CC-BY-4.0"
    assert "non-commercial" in world.ui.segmentTable.item(2, 2).text()
    assert world.parameters.templates == world.panel.segments.templates()


def test_refine_says_what_is_missing_until_nothing_is(world):
    assert "Check" in world.panel.problem() and not world.ui.refineButton.isEnabled()
    world.panel.segments.check(["a", "b"])
    assert "organ" in world.panel.problem()
    world.panel.segments.check(["a"])
    assert world.panel.problem() == "" and world.ui.refineButton.isEnabled()


def test_a_non_commercial_template_must_be_accepted_first(world):
    assert not world.ui.nonCommercialCheckBox.isVisibleTo(world.ui.inputsCollapsibleButton)
    world.panel.segments.check(["c"])
    assert world.ui.nonCommercialCheckBox.isVisibleTo(world.ui.inputsCollapsibleButton)
    assert "CC-BY-NC-SA-4.0" in world.ui.licenceLabel.text() and "non-commercial" in world.panel.problem().lower()
    world.parameters.nonCommercialAccepted = True
    world.panel.refresh()
    assert world.panel.problem() == ""


def test_the_user_chooses_another_template_and_it_is_kept_with_the_scene(world):
    box = world.ui.segmentTable.cellWidget(1, 1)
    box.setCurrentIndex(box.findData("spleen"))
    assert world.parameters.templates["b"] == "spleen" and world.ui.segmentTable.item(1, 2).text() == "CC-BY-4.0"
    world.panel.setParameters(world.parameters)
    assert world.panel.segments.templates()["b"] == "spleen"


def test_new_segments_appear_without_losing_what_was_chosen(world):
    world.panel.segments.check(["a"])
    add_segment(world.node, "d", "spleen")
    world.panel.refresh()
    assert world.panel.segments.selected() == ["a"] and world.panel.segments.templates()["d"] == "spleen"


def test_another_segmentation_starts_with_its_own_proposals(world):
    world.panel.segments.check(["a"])
    other = world.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "other")
    add_segment(other, "a", "pancreas")
    world.parameters.segmentation = other
    world.panel.refresh()
    assert world.panel.segments.templates() == {"a": "pancreas"}
    assert world.panel.segments.selected() == ["a"]  # the only organ that was recognised
    world.parameters.segmentation = None
    world.panel.refresh()
    assert world.ui.segmentTable.rowCount() == 0 and "Select" in world.panel.problem()


def test_the_task_gets_segments_templates_and_options(world):
    from ReShapeITPanel.choices import Device, Preset, ResultMode

    world.parameters.preset, world.parameters.device = Preset.DRAFT, Device.CPU
    world.parameters.resultMode, world.parameters.keepUnion = ResultMode.IN_PLACE, True
    node, templates, options = finished(world, done_task()).made
    assert node is world.node and templates == {"a": "liver"}
    assert (options.preset, options.device, options.resultMode, options.keepUnion) == ("draft", "cpu", IN_PLACE, True)
    assert default_parameters().resultMode.value == NEW_SEGMENTS


def test_progress_is_told_by_the_timer_and_nothing_can_be_changed_meanwhile(world):
    statuses = [Status(fraction=f, secondsLeft=10 * (1 - f), message="liver") for f in (0.1, 0.5)]
    world.tasks.append(ScriptedTask(course=[*statuses, *([statuses[-1]] * 2), Status("done")]))
    world.panel.segments.check(["a"])
    world.ui.refineButton.click()
    assert not world.ui.refineButton.isEnabled() and world.ui.cancelButton.isEnabled()
    assert not world.ui.segmentTable.isEnabled() and not world.ui.optionsCollapsibleButton.isEnabled()
    seen = []
    timer = qt.QElapsedTimer()
    timer.start()
    while world.panel.run.isRunning and timer.elapsed() < 10_000:
        qt.application.processEvents()
        seen.append((world.ui.progressBar.value(), world.ui.statusLabel.text()))
    assert {value for value, _ in seen} == {0, 100, 500, 1000}
    assert any("Fitting the template, liver, about 5 s left" in text for _, text in seen)
    assert world.ui.refineButton.isEnabled() and not world.ui.cancelButton.isEnabled()


def test_cancel_stops_the_task_and_says_that_nothing_happened(world):
    world.tasks.append(ScriptedTask(course=[Status(fraction=0.3)]))
    world.panel.segments.check(["a"])
    world.ui.refineButton.click()
    world.panel.run.poll()
    world.ui.cancelButton.click()
    assert not world.panel.run.isRunning and "as it was" in world.ui.statusLabel.text()
    assert world.ui.reviewTable.rowCount() == 0 and world.ui.progressBar.value() == 0


@pytest.mark.parametrize("when", ["at the start", "on the way"])
def test_a_failure_is_one_message_and_the_panel_goes_on(world, when):
    message = "The liver is empty; draw something."
    if when == "at the start":
        finished(world, ScriptedTask(startError=message))
    else:
        finished(world, ScriptedTask(course=[Status("failed", message=message)]))
    assert world.ui.statusLabel.text() == message and world.asked == []
    assert world.ui.refineButton.isEnabled() and not world.ui.reviewCollapsibleButton.isEnabled()


def test_the_review_shows_the_numbers_and_the_notices(world):
    finished(world, done_task(notices=("The GPU ran out of memory; going on on the processor.",)))
    texts = [world.ui.reviewTable.item(0, column).text() for column in range(8)]
    assert texts == ["liver", "1500.0", "1550.0", "31.3", "1.23", "0.977", "yes", "to decide"]
    assert "ran out of memory" in world.ui.statusLabel.text()
    assert "computed on cpu: no GPU" in world.ui.plausibilityLabel.text()
    implausible = SimpleNamespace(**{**vars(ROW), "isPlausible": False, "largestMoveMm": None})
    assert cellText(implausible, "isPlausible") == "look closely" and cellText(implausible, "largestMoveMm") == "–"


def test_accept_and_reject_are_decided_once(world):
    task = finished(world, done_task())
    world.ui.acceptButton.click()
    assert ("accept", "a") in task.calls and world.ui.reviewTable.item(0, 7).text() == "accepted"
    assert not world.ui.acceptButton.isEnabled() and not world.ui.blendSlider.isEnabled()
    task = finished(world, done_task())
    world.ui.rejectButton.click()
    assert ("reject", "a") in task.calls and world.ui.reviewTable.item(0, 7).text() == "rejected"


def test_the_blend_is_made_once_when_the_slider_rests(world):
    task = finished(world, done_task())
    for value in (0.9, 0.7, 0.4):
        world.ui.blendSlider.setValue(value)
    assert not [call for call in task.calls if call[0] == "blend"]
    world.panel.review.applyBlend()
    assert [call for call in task.calls if call[0] == "blend"] == [("blend", "a", 0.4)]


def test_a_blend_that_is_about_to_be_made_goes_before_the_acceptance(world):
    task = finished(world, done_task())
    world.ui.blendSlider.setValue(0.4)
    world.ui.acceptButton.click()
    assert [call for call in task.calls if call[0] != "setOpacity"] == [("blend", "a", 0.4), ("accept", "a")]


def test_opacities_go_to_the_views(world):
    task = finished(world, done_task())
    world.ui.opacityBeforeSlider.setValue(0.25)
    assert task.calls[-1] == ("setOpacity", 0.25, 1.0, False)
    world.ui.changeMapCheckBox.setChecked(True)
    assert task.calls[-1] == ("setOpacity", 0.25, 1.0, True)


def test_the_change_map_gives_way_to_the_segments_once_all_is_decided(world):
    world.ui.changeMapCheckBox.setChecked(True)
    task = finished(world, done_task())
    assert task.calls[-1][0] == "setOpacity" and task.calls[-1][-1] is True
    world.ui.acceptButton.click()
    assert task.calls[-1][0] == "setOpacity" and task.calls[-1][-1] is False


def test_jumping_to_a_change_moves_the_slice_views_there(world):
    red = world.scene.AddNewNodeByClass("vtkMRMLSliceNode")
    finished(world, done_task())
    world.ui.nextChangeButton.click()
    assert world.ui.changeLabel.text() == "8.2 mm inwards"
    np.testing.assert_allclose([red.GetSliceToRAS().GetElement(axis, 3) for axis in range(3)], [1, 2, 3])
    finished(world, done_task(changes=[]))
    world.ui.nextChangeButton.click()
    assert world.ui.changeLabel.text() == "nothing moved"


def test_undo_takes_everything_back_and_ends_the_review(world):
    task = finished(world, done_task())
    world.ui.undoButton.click()
    assert task.calls[-1] == ("undo",) and world.ui.reviewTable.rowCount() == 0
    assert "taken back" in world.ui.statusLabel.text()


def test_a_node_that_was_deleted_during_the_review_is_told_in_one_sentence(world):
    task = finished(world, done_task())
    task.reviewError = "The segmentation was deleted; refine again."
    world.ui.acceptButton.click()
    assert world.ui.statusLabel.text() == task.reviewError


def test_results_that_are_not_decided_are_not_lost_by_refining_again(world):
    task = finished(world, done_task())
    world.answers.append(False)
    world.panel.refine()
    assert "not decided" in world.asked[-1] and not world.panel.run.isRunning
    world.answers.append(True)
    finished(world, done_task())
    assert ("accept", "a") in task.calls


def test_missing_packages_are_named_and_installed_only_after_a_yes(world):
    world.missing.append(Missing(["safetensors>=0.4"], torch=True))
    top, ui = load_panel()
    panel = Panel(ui, world.scene, world.environment)
    panel.setParameters(world.parameters)
    assert ui.dependencyFrame.isVisibleTo(top)
    assert "PyTorch" in ui.dependencyLabel.text() and "Install" in panel.problem()
    world.answers.append(False)
    panel.installPackages()
    assert len(world.missing) == 2 and "no image leaves" in world.asked[-1]
    world.answers.append(True)
    panel.installPackages()
    assert not world.missing[-1] and not ui.dependencyFrame.isVisibleTo(top)


def test_closing_the_scene_stops_the_refinement(world):
    task = ScriptedTask(course=[Status(fraction=0.3)])
    world.tasks.append(task)
    world.panel.segments.check(["a"])
    world.panel.refine()
    world.panel.close()
    world.panel.setParameters(None)
    assert task.status.state == "cancelled" and world.ui.segmentTable.rowCount() == 0


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
    import sys

    for path in (*MODULE.glob("*.py"), *(MODULE / "ReShapeITPanel").glob("*.py")):
        for statement in ast.parse(path.read_text(encoding="utf-8")).body:
            names = []
            if isinstance(statement, ast.Import):
                names = [alias.name for alias in statement.names]
            elif isinstance(statement, ast.ImportFrom) and not statement.level:
                names = [statement.module]
            roots = {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names)
            assert roots <= allowed, f"{Path(path).name} imports {roots - allowed} at file scope"


def test_the_panel_tells_which_device_automatic_takes_and_why(world):
    from ReShapeITPanel.deviceProbe import DeviceProbe

    top, ui = load_panel()
    panel = Panel(ui, world.scene, PanelEnvironment(list, None, Missing, None, None, DeviceProbe))
    timer = qt.QElapsedTimer()
    timer.start()
    while not ui.deviceReasonLabel.text() and timer.elapsed() < 120_000:
        qt.application.processEvents()
    panel.close()
    assert re.fullmatch(r"Automatic takes (cpu|cuda): .+\.", ui.deviceReasonLabel.text())
    assert ui.deviceReasonLabel.isVisibleTo(top)
