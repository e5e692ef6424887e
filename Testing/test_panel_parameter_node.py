"""The parameter node under Slicer's own parameterNodeWrapper, which is not in the wheel: needs a checkout of Slicer.

``RESHAPEIT_SLICER_SOURCE=/path/to/Slicer python -m pytest Testing/test_panel_parameter_node.py``
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("slicer", reason="the panel's tests need slicer-core")
pytest.importorskip("PySide6", reason="the panel's tests need PySide6-Essentials")

from Testing.qt_stand_ins import import_qt, stand_in_widgets  # noqa: E402
from Testing.Slicer.scene import new_scene  # noqa: E402

qt = import_qt()


@pytest.fixture
def wrapped(tmp_path, monkeypatch):
    """The wrapped class, a node for it, and the scene."""
    source = Path(os.environ.get("RESHAPEIT_SLICER_SOURCE", "")) / "Base" / "Python" / "slicer"
    if not (source / "parameterNodeWrapper").is_dir():
        pytest.skip("RESHAPEIT_SLICER_SOURCE names no checkout of Slicer")
    import slicer

    monkeypatch.setattr(slicer, "__path__", [*slicer.__path__, str(source)])
    ctk = ModuleType("ctk")
    ctk.__getattr__ = lambda name: type(name, (qt.QWidget,), {})
    monkeypatch.setitem(sys.modules, "ctk", ctk)
    for widget in stand_in_widgets():
        monkeypatch.setattr(slicer, widget.__name__, widget, raising=False)
    world = new_scene(tmp_path)
    monkeypatch.setattr(slicer, "mrmlScene", world.scene, raising=False)
    from ReShapeITPanel.parameterNode import ReShapeITParameterNode

    node = world.scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
    return ReShapeITParameterNode, node, world


def test_defaults_are_those_of_the_panel(wrapped):
    from ReShapeITPanel.choices import Device, OverlapPolicy, Preset, ResultMode

    kind, node, _world = wrapped
    parameters = kind(node)
    assert parameters.segmentation is None and list(parameters.selected) == [] and dict(parameters.templates) == {}
    chosen = (parameters.preset, parameters.device, parameters.resultMode, parameters.overlapPolicy)
    assert chosen == (Preset.STANDARD, Device.AUTO, ResultMode.NEW_SEGMENTS, OverlapPolicy.KEEP_NEIGHBOURS)
    assert parameters.showChangeMap and not parameters.nonCommercialAccepted


def test_what_was_chosen_comes_back_from_the_node(wrapped):
    from ReShapeITPanel.choices import Preset

    kind, node, world = wrapped
    segmentation = world.scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    first = kind(node)
    first.segmentation, first.selected, first.templates = segmentation, ["a"], {"a": "liver", "b": ""}
    first.preset, first.opacityBefore = Preset.FINE, 0.5
    second = kind(node)
    assert second.segmentation is segmentation and list(second.selected) == ["a"]
    assert dict(second.templates) == {"a": "liver", "b": ""}
    assert (second.preset, second.opacityBefore) == (Preset.FINE, 0.5)


def test_an_opacity_outside_its_range_is_refused(wrapped):
    kind, node, _world = wrapped
    with pytest.raises(ValueError, match="1"):
        kind(node).opacityAfter = 1.5
