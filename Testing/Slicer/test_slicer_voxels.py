"""Segments of the real Slicer core as masks on a grid and back, and the files for the engine."""

from __future__ import annotations

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="the scene side needs slicer-core")

from ReShapeITSlicer.exchange.nrrd import readSegments, writeSegments
from ReShapeITSlicer.geometry import Grid, gridOfImage, toGrid
from ReShapeITSlicer.review.blending import Blend
from ReShapeITSlicer.segmentVoxels import (
    LABELMAP,
    SURFACE,
    newSegment,
    ownMask,
    restoreSegment,
    savedSegment,
    segmentMask,
    surfaceOf,
    writeMask,
)

from ReShapeITLib.io.volumes import read_labels, write_labels
from Testing.Slicer.scene import new_scene

OBLIQUE = np.array([[0.9, -0.8, 0.3, 12.0], [0.6, 1.1, 0.2, -40.0], [-0.1, 0.2, 2.5, 900.0], [0, 0, 0, 1.0]])
GRID = Grid(OBLIQUE, (0, 0, 0), (24, 22, 20))


def box(i, j, k, grid=GRID) -> np.ndarray:
    mask = np.zeros(grid.shape, dtype=bool)
    mask[slice(*k), slice(*j), slice(*i)] = True
    return mask


LEFT, RIGHT = box((3, 10), (4, 15), (5, 16)), box((10, 19), (4, 15), (5, 16))


@pytest.fixture
def world(tmp_path):
    return new_scene(tmp_path)


@pytest.fixture
def segmentation(world):
    """Two touching segments in one shared labelmap on an oblique, anisotropic grid."""
    node = world.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "organs")
    source = slicer.vtkSegment()
    for name, mask in (("left", LEFT), ("right", RIGHT)):
        source.SetName(name)
        newSegment(node.GetSegmentation(), source, name, mask, GRID)
    node.GetSegmentation().CollapseBinaryLabelmaps(False)
    assert node.GetSegmentation().GetNumberOfLayers(LABELMAP) == 1
    return node.GetSegmentation()


def test_masks_come_back_exactly_from_a_shared_cropped_labelmap(segmentation):
    assert np.array_equal(segmentMask(segmentation, "left", GRID), LEFT)
    assert np.array_equal(segmentMask(segmentation, "right", GRID), RIGHT)


@pytest.mark.parametrize("surfaces", [False, True])
def test_writing_a_segment_leaves_its_neighbour_alone(segmentation, surfaces):
    if surfaces:
        segmentation.CreateRepresentation(SURFACE)
    wider = box((2, 14), (3, 16), (5, 16))
    writeMask(segmentation, "left", wider, GRID)
    assert np.array_equal(segmentMask(segmentation, "left", GRID), wider)
    assert np.array_equal(segmentMask(segmentation, "right", GRID), RIGHT)
    surface = segmentation.GetSegment("left").GetRepresentation(SURFACE)
    assert (surface is not None) == surfaces
    if surfaces:
        expected = surfaceOf(wider, GRID).GetBounds()
        assert surface.GetBounds() == pytest.approx(expected, abs=0.5)


def test_the_lattice_of_a_written_segment_is_that_of_the_grid(segmentation):
    writeMask(segmentation, "left", LEFT, GRID)
    grid = gridOfImage(segmentation.GetSegment("left").GetRepresentation(LABELMAP))
    assert np.allclose(grid.ijkToLocal, OBLIQUE, rtol=1e-14, atol=0)
    assert (grid.start, grid.size) == ((3, 4, 5), (7, 11, 11))


def test_a_saved_segment_is_put_back_exactly(segmentation):
    segmentation.CreateRepresentation(SURFACE)
    saved, before = savedSegment(segmentation, "left"), surfaceOf(LEFT, GRID).GetBounds()
    writeMask(segmentation, "left", RIGHT, GRID)
    restoreSegment(segmentation, "left", saved)
    assert np.array_equal(segmentMask(segmentation, "left", GRID), LEFT)
    assert np.array_equal(segmentMask(segmentation, "right", GRID), RIGHT)
    assert segmentation.GetSegment("left").GetRepresentation(SURFACE).GetBounds() == pytest.approx(before, abs=0.5)


def test_an_empty_mask_empties_a_segment(segmentation):
    writeMask(segmentation, "left", np.zeros_like(LEFT), GRID)
    assert not segmentMask(segmentation, "left", GRID).any()
    assert np.array_equal(segmentMask(segmentation, "right", GRID), RIGHT)


def test_voxels_of_a_closed_surface_segment_fill_its_volume(world):
    import vtk

    node = world.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "surfaces")
    node.SetSourceRepresentationToClosedSurface()
    ball = vtk.vtkSphereSource()
    ball.SetRadius(15.0)
    ball.SetPhiResolution(40)
    ball.SetThetaResolution(40)
    ball.Update()
    segment = slicer.vtkSegment()
    segment.AddRepresentation(SURFACE, ball.GetOutput())
    node.GetSegmentation().AddSegment(segment, "ball")
    grid = Grid(np.diag([1.0, 1.0, 2.0, 1.0]), (-20, -20, -10), (41, 41, 21))
    mask = segmentMask(node.GetSegmentation(), "ball", grid)
    assert mask.sum() * 2.0 == pytest.approx(4 / 3 * np.pi * 15**3, rel=0.03)
    assert segment.GetRepresentation(LABELMAP) is None


def test_a_mask_goes_to_another_lattice_by_the_nearest_voxel():
    fine = Grid(np.diag([0.5, 0.5, 0.5, 1.0]), (0, 0, 0), (48, 48, 48))
    coarse = Grid(np.diag([1.0, 1.0, 1.0, 1.0]), (-3, 0, 2), (40, 30, 28))
    mask = np.zeros(fine.shape, dtype=bool)
    mask[10:20, 12:30, 8:40] = True
    moved = toGrid(mask, fine, coarse)
    k, j, i = (np.nonzero(moved)[axis] for axis in range(3))
    assert ((k.min() + 2) * 2, (k.max() + 2) * 2) == (10, 18)
    assert (j.min() * 2, j.max() * 2, (i.min() - 3) * 2, (i.max() - 3) * 2) == (12, 28, 8, 38)
    assert moved.sum() == 5 * 9 * 16


def test_files_for_the_engine_are_read_by_the_library_exactly_and_back(tmp_path):
    flat = (LEFT + 2 * RIGHT).astype(np.uint8)
    writeSegments(tmp_path / "one.seg.nrrd", [flat], OBLIQUE, {"a": (0, 1), "b": (0, 2)})
    wider = box((2, 14), (3, 16), (5, 16))
    layers = [wider.astype(np.uint8), RIGHT.astype(np.uint8)]
    writeSegments(tmp_path / "two.seg.nrrd", layers, OBLIQUE, {"a": (0, 1), "b": (1, 1)})
    for name, left in (("one", LEFT), ("two", wider)):
        volume = read_labels(tmp_path / f"{name}.seg.nrrd")
        assert np.array_equal(volume.geometry.ijk_to_ras, OBLIQUE)
        assert np.array_equal(volume.mask("a"), left) and np.array_equal(volume.mask("b"), RIGHT)
        write_labels(volume, tmp_path / "again.seg.nrrd")
        masks = readSegments(tmp_path / "again.seg.nrrd")
        assert np.array_equal(masks["a"], left) and np.array_equal(masks["b"], RIGHT)


def test_a_blend_ends_at_both_masks_and_is_halfway_between():
    before, after = box((3, 10), (4, 15), (5, 16)), box((3, 18), (4, 15), (5, 16))
    blend = Blend(before, after, (1.0, 1.0, 1.0))
    assert np.array_equal(blend.at(0.0), before) and np.array_equal(blend.at(1.0), after)
    middle = blend.at(0.5)
    row = np.flatnonzero(middle[10, 9])
    assert (row[0], row[-1]) in ((3, 13), (3, 14))
    assert not (before & ~middle).any() and not (middle & ~after).any()


def test_own_mask_of_an_empty_segment_is_empty(segmentation):
    segmentation.AddEmptySegment("nothing", "nothing")
    assert not ownMask(segmentation, "nothing")[0].any()


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (0.7, 0.9, 2.5)])
@pytest.mark.parametrize("shift", [1, 9])
def test_a_blend_mixes_the_distances_to_the_nearest_voxel_beyond_each_border(spacing_mm, shift, rng):
    from scipy.ndimage import distance_transform_edt, gaussian_filter

    smooth = gaussian_filter(rng.normal(size=(24, 26, 28)), 2.5)
    before, after = smooth > 0.0, np.roll(smooth, shift, axis=2) > 0.01

    def signed_mm(mask):
        sampling = spacing_mm[::-1]
        return distance_transform_edt(~mask, sampling=sampling) - distance_transform_edt(mask, sampling=sampling)

    blend, differs = Blend(before, after, spacing_mm), before != after
    for fraction in (0.25, 0.5, 0.9):
        mixed = (1.0 - fraction) * signed_mm(before) + fraction * signed_mm(after)
        clear = np.abs(mixed) > 1e-9
        assert np.array_equal(blend.at(fraction)[clear], np.where(differs, mixed < 0.0, before)[clear])


@pytest.mark.parametrize("before", [False, True])
def test_a_blend_with_nothing_and_with_everything_has_both_at_its_ends(before):
    empty, full = np.zeros(GRID.shape, dtype=bool), np.ones(GRID.shape, dtype=bool)
    first, second = (full, empty) if before else (empty, full)
    blend = Blend(first, second, (1.0, 1.0, 1.0))
    assert np.array_equal(blend.at(0.1), first) and np.array_equal(blend.at(0.9), second)
