"""Touching segments refined together, on boxes in a real Slicer scene: no gap, no overlap, other segments untouched."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="the scene side needs slicer-core")

from ReShapeITSlicer.geometry import Grid
from ReShapeITSlicer.options import IN_PLACE, NEW_SEGMENTS, RESULT_MODES
from ReShapeITSlicer.segmentVoxels import newSegment, ownMask

from Testing.Slicer.refined_boxes import world_of_boxes
from Testing.Slicer.test_slicer_review import MATRIX, ORGANS, box, refined, review, voxels

HALF_A_VOXEL_OFF = MATRIX @ np.array([[1, 0, 0, 0.5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
LEAK = (slice(4, 16), slice(20, 24), slice(12, 14))


@pytest.fixture
def world(tmp_path):
    return world_of_boxes(tmp_path)


def moved_border():
    """Results for a and b whose common border moved from 10 to 7: a gave b three slices of voxels."""
    return refined("a", box((3, 7))), refined("b", box((7, 17)))


@pytest.mark.parametrize("other", [np.diag([0.7, 0.7, 0.7, 1.0]), HALF_A_VOXEL_OFF], ids=["finer", "half a voxel off"])
@pytest.mark.parametrize("mode", RESULT_MODES)
def test_a_segment_on_another_lattice_is_not_resampled(world, mode, other):
    far = np.zeros((9, 10, 11), dtype=bool)
    far[2:5, 3:8, 4:9] = True
    newSegment(world.node.GetSegmentation(), slicer.vtkSegment(), "far", far, Grid(other, (0, 0, 0), (11, 10, 9)))
    done = review(world, *moved_border(), resultMode=mode)
    for act in (lambda: None, done.undo):
        act()
        mask, grid = ownMask(world.node.GetSegmentation(), "far")
        assert np.array_equal(mask, far[2:5, 3:8, 4:9]) and np.allclose(grid.ijkToLocal, other)


@pytest.mark.parametrize("rejected", ["a", "b"])
def test_rejecting_one_of_two_touching_organs_leaves_no_gap(world, rejected):
    done = review(world, *moved_border(), resultMode=IN_PLACE)
    done.reject(rejected)
    found = voxels(world.node)
    assert np.array_equal(found[rejected], ORGANS[rejected])
    assert np.array_equal(found["a"] ^ found["b"], ORGANS["a"] | ORGANS["b"])


def test_beside_a_rejected_new_segment_the_other_keeps_what_it_had(world):
    done = review(world, refined("a", box((3, 12))), refined("b", box((12, 17))), resultMode=NEW_SEGMENTS)
    done.reject("a")
    assert np.array_equal(voxels(world.node)["b_refined"], ORGANS["b"])


def test_no_blend_of_two_touching_organs_overlaps_or_leaves_a_gap(world):
    done = review(world, *moved_border(), resultMode=IN_PLACE)
    for first, second in product((0.0, 0.4, 0.7, 1.0), repeat=2):
        done.blend("a", first)
        done.blend("b", second)
        found = voxels(world.node)
        assert np.array_equal(found["a"] ^ found["b"], ORGANS["a"] | ORGANS["b"]), (first, second)


def test_a_leak_that_both_results_leave_stays_off(world):
    leak = box((3, 10)) | box((12, 14), (20, 24))
    done = review(world, refined("a", box((3, 8)), leak), refined("b", box((8, 17))), resultMode=IN_PLACE)
    assert not voxels(world.node)["a"][LEAK].any()
    done.blend("b", 0.0)
    found = voxels(world.node)
    assert not found["a"][LEAK].any() and np.array_equal(found["a"] ^ found["b"], ORGANS["a"] | ORGANS["b"])
