"""The Segment Editor's effect *Anatomy*: preview, apply and cancel in a real scene with Slicer's own masks and undo."""

from __future__ import annotations

import re

import numpy as np
import pytest

pytest.importorskip("slicer", reason="the Slicer side needs slicer-core")
pytest.importorskip("PySide6", reason="the panel needs PySide6-Essentials")

from Testing.Slicer import pythonqt, slicer_python
from Testing.Slicer.organs import add_organs, dice
from Testing.Slicer.scripted_task import ScriptedTask
from Testing.Slicer.segment_editor import Editor, qSlicerSegmentEditorEffectFactory
from Testing.tiny_template import ORGAN


@pytest.fixture
def world(application, tiny_template_file, monkeypatch):
    """An editor over two damaged organs and a CT, with the effect chosen; its only template is a small one."""
    monkeypatch.setenv("RESHAPEIT_TEMPLATES", str(tiny_template_file.parent))
    application.node, application.grid, application.masks = add_organs(application.scene, (ORGAN, "something else"))
    application.volume = application.scene.GetFirstNodeByName("CT")
    application.editor = Editor(application, application.node, application.volume)
    application.editor.select("organ0")
    application.effect = application.editor.choose("Anatomy")
    application.ui = application.effect.ui
    yield application
    application.editor.close()


def previewed(world) -> None:
    assert world.ui.previewButton.enabled, world.ui.previewButton.toolTip
    world.ui.previewButton.click()
    world.wait(lambda: not world.effect.anatomy.run.isRunning)
    assert world.effect.anatomy.hasPreview, world.ui.statusLabel.text


def node_ids(scene) -> list[str]:
    """Ids of all nodes but the panel's parameters, which belong to every scene."""
    ids = [scene.GetNthNode(index).GetID() for index in range(scene.GetNumberOfNodes())]
    return [node_id for node_id in ids if "ScriptedModule" not in node_id]


def now(world, segment_id: str = "organ0") -> np.ndarray:
    return world.mask(world.node, segment_id, world.grid)


def test_the_effect_is_registered_at_the_start_with_name_icon_and_help(application):
    (effect,) = qSlicerSegmentEditorEffectFactory.instance().registered
    assert (effect.name, effect.title, effect.perSegment) == ("Anatomy", "Anatomy", True)
    python = effect.self()
    assert not python.icon().isNull() and "not a medical device" in python.helpText()
    assert python.clone().self() is not python
    application.open()
    assert len(qSlicerSegmentEditorEffectFactory.instance().registered) == 1


def test_every_widget_that_the_code_names_is_in_the_ui_file(world):
    module = slicer_python.ROOT / "ReShapeIT"
    parts = ("effect/anatomy", "review/suggestionControl", "review/pointsControl", "runControl")
    sources = [module / "ReShapeITPanel" / f"{part}.py" for part in parts]
    sources.append(module / "ReShapeITEffect" / "SegmentEditorAnatomyEffect.py")
    named = {name for path in sources for name in re.findall(r"ui\.([A-Za-z]\w*)", path.read_text(encoding="utf-8"))}
    assert len(named) > 10 and sorted(named - set(vars(world.ui))) == []
    controls = [w for name, w in vars(world.ui).items() if name.endswith(("Button", "ComboBox", "CheckBox", "Slider"))]
    assert len(controls) > 10 and not [widget.name for widget in controls if not widget.toolTip]


def test_the_organ_of_the_selected_segment_is_proposed(world):
    assert world.ui.organComboBox.itemData(world.ui.organComboBox.currentIndex) == ORGAN
    world.editor.select("organ1")
    assert world.ui.organComboBox.currentIndex == 0 and "organ" in world.ui.previewButton.toolTip
    world.editor.select("")
    assert "Select a segment" in world.ui.previewButton.toolTip and not world.ui.previewButton.enabled


@pytest.mark.computes
def test_preview_changes_nothing_and_apply_and_undo_go_through_the_editor(world):
    world.editor.logic.SaveStateForUndo()
    previewed(world)
    assert np.array_equal(now(world), world.masks["organ0"])
    preview = world.scene.GetFirstNodeByName("ReShapeIT preview")
    assert not preview.GetSaveWithScene() and preview.GetHideFromEditors()
    wanted = world.mask(preview, "organ0", world.grid)
    world.ui.applyButton.click()
    assert np.array_equal(now(world), wanted) and not np.array_equal(wanted, world.masks["organ0"])
    assert dice(wanted, world.masks["truth"]) > dice(world.masks["organ0"], world.masks["truth"])
    assert np.array_equal(now(world, "organ1"), world.masks["organ1"])
    assert world.scene.GetFirstNodeByName("ReShapeIT preview") is None and not world.ui.applyButton.enabled
    world.editor.logic.Undo()
    assert np.array_equal(now(world), world.masks["organ0"])
    world.editor.logic.Redo()
    assert np.array_equal(now(world), wanted)


@pytest.mark.computes
def test_only_the_editable_area_changes(world):
    import slicer

    previewed(world)
    wanted = world.mask(world.scene.GetFirstNodeByName("ReShapeIT preview"), "organ0", world.grid)
    world.editor.node.SourceVolumeIntensityMaskOn()
    world.editor.node.SetSourceVolumeIntensityMaskRange(95.0, 200.0)
    world.ui.applyButton.click()
    editable = slicer.util.arrayFromVolume(world.volume) >= 95
    expected = np.where(editable, wanted, world.masks["organ0"])
    assert np.array_equal(now(world), expected) and not np.array_equal(expected, wanted)


@pytest.mark.computes
def test_cancel_takes_the_preview_away(world):
    before = node_ids(world.scene)
    previewed(world)
    world.ui.cancelButton.click()
    assert node_ids(world.scene) == before and np.array_equal(now(world), world.masks["organ0"])
    assert not world.ui.cancelButton.enabled and not world.ui.applyButton.enabled


@pytest.mark.computes
def test_cancel_stops_a_running_preview(world):
    before = node_ids(world.scene)
    world.ui.previewButton.click()
    assert world.ui.cancelButton.enabled and not world.ui.previewButton.enabled
    world.ui.cancelButton.click()
    assert not world.effect.anatomy.run.isRunning and node_ids(world.scene) == before
    assert world.ui.previewButton.enabled


@pytest.mark.computes
@pytest.mark.parametrize("how", ["another segment", "another effect", "another volume", "scene closed"])
def test_a_preview_does_not_outlive_what_it_is_about(world, how):
    before = node_ids(world.scene)
    previewed(world)
    if how == "another segment":
        world.editor.select("organ1")
    elif how == "another effect":
        world.editor.leave()
    elif how == "another volume":
        world.effect.sourceVolumeNodeChanged()
    else:
        world.close_scene()
    assert world.scene.GetFirstNodeByName("ReShapeIT preview") is None
    if how != "scene closed":
        assert node_ids(world.scene) == before
        assert np.array_equal(now(world), world.masks["organ0"])


@pytest.mark.computes
def test_a_segment_that_was_painted_on_since_is_not_overwritten(world):
    from ReShapeITSlicer.segmentVoxels import writeMask

    previewed(world)
    painted = world.masks["organ0"].copy()
    painted[2:5, 2:5, 2:5] = True
    writeMask(world.node.GetSegmentation(), "organ0", painted, world.grid)
    world.ui.applyButton.click()
    assert "was changed" in world.ui.statusLabel.text and np.array_equal(now(world), painted)
    assert world.effect.anatomy.hasPreview, "the user may look at it, preview again or cancel"


def test_the_source_volume_and_sparse_drawing_are_handed_on_and_kept_with_the_editor(world, monkeypatch):
    import ReShapeIT

    made = []

    def create(self, *arguments):
        made.append(arguments)
        return ScriptedTask()

    monkeypatch.setattr(ReShapeIT.ReShapeITLogic, "createTask", create)
    effect = world.editor.choose("Anatomy")
    effect.ui.sparseCheckBox.checked = True
    effect.ui.previewButton.click()
    (node, templates, options, volume) = made[0]
    assert node is world.node and templates == {"organ0": ORGAN} and volume is world.volume
    assert options.sparse and options.resultMode == "newSegmentation" and options.overlapPolicy == "allowOverlap"
    effect.ui.cancelButton.click()
    effect.ui.useVolumeCheckBox.checked = False
    effect.ui.previewButton.click()
    assert made[1][3] is None
    effect.ui.cancelButton.click()
    again = world.editor.choose("Anatomy")
    assert again.ui.sparseCheckBox.checked and not again.ui.useVolumeCheckBox.checked


def test_what_goes_wrong_is_told_in_the_effect(world):
    world.volume.SetAndObserveImageData(None)
    world.ui.previewButton.click()
    assert world.ui.statusLabel.text == "The volume CT has no image; choose another."
    assert not world.effect.anatomy.run.isRunning and pythonqt.slot_errors == []
