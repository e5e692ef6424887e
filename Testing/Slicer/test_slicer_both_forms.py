"""The panel's tests on the stand-ins, where the other tests of this run use a checkout of Slicer.

The engine does not know whose Python calls it; tests that run it are not repeated.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("slicer", reason="the Slicer side needs slicer-core")
pytest.importorskip("PySide6", reason="the panel needs PySide6-Essentials")

from Testing.Slicer.slicer_python import STAND_INS, VARIABLE, slicer_source

ROOT = Path(__file__).resolve().parents[2]
FILES = ("test_panel_ui", "test_panel_parameter_node", "test_slicer_application")


def test_the_panel_works_on_the_stand_ins_as_on_slicers_own_python():
    if slicer_source() is None:
        pytest.skip("this whole run is on the stand-ins already")
    command = [sys.executable, "-m", "pytest", "-n", "0", "-q", "-m", "not computes", "-p", "no:cacheprovider"]
    files = [f"Testing/Slicer/{name}.py" for name in FILES]
    environment = {**os.environ, VARIABLE: STAND_INS}
    done = subprocess.run(
        [*command, *files], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert int(re.search(r"(\d+) passed", done.stdout).group(1)) > 50 and "skipped" not in done.stdout
    assert "stand-ins for Slicer's own Python" in done.stdout
