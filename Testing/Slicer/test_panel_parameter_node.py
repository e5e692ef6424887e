"""The panel's parameter node: defaults, what comes back, what is refused."""

from __future__ import annotations

import pytest


@pytest.fixture
def wrapped(application):
    """The wrapped class, a node for it, and the scene."""
    from ReShapeITPanel.parameterNode import ReShapeITParameterNode

    return ReShapeITParameterNode, application.scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"), application.scene


def test_defaults_are_those_of_the_panel(wrapped):
    from ReShapeITPanel.choices import Device, OverlapPolicy, Preset, ResultMode

    kind, node, _scene = wrapped
    parameters = kind(node)
    assert parameters.segmentation is None and list(parameters.selected) == [] and dict(parameters.templates) == {}
    chosen = (parameters.preset, parameters.device, parameters.resultMode, parameters.overlapPolicy)
    assert chosen == (Preset.STANDARD, Device.AUTO, ResultMode.NEW_SEGMENTS, OverlapPolicy.KEEP_NEIGHBOURS)
    assert parameters.showChangeMap and not parameters.force


def test_what_was_chosen_comes_back_from_the_node(wrapped):
    from ReShapeITPanel.choices import Preset

    kind, node, scene = wrapped
    segmentation = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    first = kind(node)
    first.segmentation, first.selected, first.templates = segmentation, ["a"], {"a": "liver", "b": ""}
    first.preset, first.opacityBefore = Preset.FINE, 0.5
    second = kind(node)
    assert second.segmentation is segmentation and list(second.selected) == ["a"]
    assert dict(second.templates) == {"a": "liver", "b": ""}
    assert (second.preset, second.opacityBefore) == (Preset.FINE, 0.5)


def test_an_opacity_outside_its_range_is_refused(wrapped):
    kind, node, _scene = wrapped
    with pytest.raises(ValueError, match="1"):
        kind(node).opacityAfter = 1.5


def test_a_name_of_an_older_version_in_a_saved_scene_is_left_aside(wrapped):
    kind, node, _scene = wrapped
    node.SetParameter("nonCommercialAccepted", "True")
    assert not hasattr(kind(node), "nonCommercialAccepted")
