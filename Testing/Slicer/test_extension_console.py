"""The three lines for the Python console, as they stand in the user guide, run on the generated patient."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("slicer", reason="the console's test needs slicer-core")
pytest.importorskip("PySide6", reason="the panel's package needs PySide6-Essentials")
from ReShapeITSlicer import console

from Testing.Slicer import slicer_python
from Testing.Slicer.scene import new_scene

slicer_python.install()

from ReShapeITPanel.sampleData import FILES

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "SLICER.md"


def lines_of_the_guide() -> str:
    """The first indented block after the heading "Use the Python console"."""
    section = GUIDE.read_text(encoding="utf-8").partition("### Use the Python console")[2]
    return re.search(r"\n\n((?:    .+\n)+)", section).group(1).replace("\n    ", "\n").strip()


def test_the_lines_of_the_guide_refine_the_patient(sample_patient, tmp_path, capsys):
    world = new_scene(tmp_path)
    storage = world.scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(sample_patient / FILES[1]))
    node = world.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "SamplePatient")
    assert storage.ReadData(node)
    before = node.GetSegmentation().GetNumberOfSegments()
    logic = console.ReShapeITLogic(world.scene)
    util = SimpleNamespace(getModuleLogic=lambda name: logic, getNode=world.scene.GetFirstNodeByName)
    names = {"slicer": SimpleNamespace(util=util)}
    code = lines_of_the_guide()
    assert len(code.splitlines()) == 3
    exec(compile(code, str(GUIDE), "exec"), names)
    (row,) = names["task"].summary()
    assert row.name == "spleen" and row.volumeAfterMl > row.volumeBeforeMl + 5  # the bite was filled
    assert "spleen" in capsys.readouterr().out
    assert node.GetSegmentation().GetNumberOfSegments() == before + 1
