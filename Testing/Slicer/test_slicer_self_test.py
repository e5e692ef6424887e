"""The in-application self-test, which is a person's first ten minutes of the guide, run in the test application."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

pytest.importorskip("slicer", reason="the Slicer side needs slicer-core")
pytest.importorskip("PySide6", reason="the panel needs PySide6-Essentials")

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "SLICER.md"


@pytest.mark.computes
def test_the_first_ten_minutes_go_as_the_guide_tells_them(application):
    """All steps of ReShapeITTest, with the sample patient and real refinements."""
    import slicer

    sys.modules["ReShapeIT"].ReShapeITTest.messageDelay = 0
    slicer.selfTests["ReShapeIT"](msec=0)


def test_each_step_of_the_self_test_is_a_heading_of_the_guide_in_the_same_order(application):
    from ReShapeITPanel.selfTest import STEPS, titleOf

    section = GUIDE.read_text(encoding="utf-8").partition("\n## Your first ten minutes\n")[2].partition("\n## ")[0]
    headings = re.findall(r"^### (.+)$", section, re.MULTILINE)
    assert headings == [titleOf(step) for step in STEPS]
    for step in STEPS:
        words = "".join(word[:1].upper() + word[1:] for word in re.findall(r"[A-Za-z]+", titleOf(step)))
        assert words[:1].lower() + words[1:] == step.__name__
