"""The stand-ins for Slicer's own Python have its signatures and do what it does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("slicer", reason="the Slicer side needs slicer-core")
pytest.importorskip("PySide6", reason="the panel needs PySide6-Essentials")

from Testing.Slicer.slicer_python import STAND_INS, VARIABLE, slicer_source

ROOT = Path(__file__).resolve().parents[2]


def told_by(source: str) -> dict:
    """Signatures and behaviours of a checkout, or of the stand-ins."""
    command = [sys.executable, "-m", "Testing.Slicer.behaviours"]
    environment = {**os.environ, VARIABLE: source}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def stand_ins() -> dict:
    return told_by(STAND_INS)


@pytest.fixture(scope="module")
def slicers() -> dict:
    if slicer_source() is None:
        pytest.skip("there is no checkout of Slicer to compare with: make slicer-source")
    return told_by(str(slicer_source()))


def test_the_stand_ins_take_what_slicer_takes(stand_ins, slicers):
    ours, theirs = stand_ins["signatures"], slicers["signatures"]
    assert len(ours) > 60
    assert {name: ours.get(name) for name in theirs} == theirs


def test_the_stand_ins_do_what_slicer_does(stand_ins, slicers):
    assert len(stand_ins["behaviours"]) > 40
    assert stand_ins["behaviours"] == slicers["behaviours"]


def test_the_stand_ins_refuse_a_default_as_slicers_dict_does(stand_ins):
    """The fault that a plain dict hides, so that this is seen without a checkout, too."""
    assert stand_ins["behaviours"]["get with a default"] == "raises TypeError"
