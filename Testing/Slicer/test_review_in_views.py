"""Reviews that begin and end while views show their segmentation, in a process that may crash."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("slicer", reason="the scene side needs slicer-core")
pytest.importorskip("PySide6", reason="the boxes' engine needs PySide6-Essentials")

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import sys
from Testing.Slicer import slicer_python
slicer_python.install()
from ReShapeITSlicer.review import display
from ReShapeITSlicer.suggestions.outline import SuggestionOutline
from Testing.Slicer.answering_boxes import reviewed
from Testing.Slicer.refined_boxes import world_of_boxes
from Testing.Slicer.views import SliceView, ThreeDView

end, forgets = sys.argv[2:]
if forgets == "forgets":
    display._keepAsLongAs = lambda node, display: None
world = world_of_boxes(sys.argv[1])
world.node.CreateClosedSurfaceRepresentation()
views = ThreeDView(world, (64, 64)), SliceView(world, (64, 64), "Axial", "Red")
for _ in range(2):
    one = reviewed(world)
    one.review.setOpacity(0.0, 1.0, True)
    outline = SuggestionOutline(world.scene, world.node)
    one.deciding.settle()
    outline.show(*one.deciding.regionOf(one.deciding.find("a", 2)))
    one.deciding.decide("a", 2, True)
    one.deciding.settle()
    getattr(one.review, end)(*(["a"] if end in ("accept", "reject") else []))
    outline.close()
    world.node.GetSegmentation().AddEmptySegment("", "new")
    world.node.GetSegmentation().RemoveSegment("b")
world.scene.Clear(0)
print("went well")
"""


def ended(tmp_path, end: str, forgets: str = "keeps") -> subprocess.CompletedProcess:
    path = os.pathsep.join([str(ROOT), str(ROOT / "ReShapeIT")])
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), end, forgets]
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("end", ["accept", "reject", "undo", "close"])
def test_views_live_on_after_a_review(end, tmp_path):
    done = ended(tmp_path, end)
    assert done.returncode == 0 and "went well" in done.stdout, done.stderr[-2000:]


@pytest.mark.skipif(sys.platform == "win32", reason="what a wild pointer does there is not known")
def test_without_the_care_for_the_display_node_slicers_views_crash(tmp_path):
    """Where this fails, Slicer forgets display nodes that left the scene, and the care can go."""
    assert ended(tmp_path, "undo", "forgets").returncode != 0
