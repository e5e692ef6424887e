"""Segments of a real Slicer scene refined by real engine processes: frames, failures, cancel, scene unchanged."""

from __future__ import annotations

import os
import signal
import stat
import sys
import time
from pathlib import Path

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="the scene side needs slicer-core")

import vtk
from ReShapeITSlicer.console import ReShapeITLogic
from ReShapeITSlicer.engine import EngineSettings
from ReShapeITSlicer.errors import RefinementError
from ReShapeITSlicer.geometry import Grid, gridOfImage, toGrid
from ReShapeITSlicer.options import IN_PLACE, RefinementOptions
from ReShapeITSlicer.refinement import RefinementTask
from ReShapeITSlicer.review.changeMap import changes
from ReShapeITSlicer.segmentVoxels import LABELMAP, newSegment, ownMask, segmentMask

from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.damage.shapes import bite
from Testing.Slicer.scene import new_scene
from Testing.tiny_template import SIZE_MM, ellipsoid_mask

RADII = SIZE_MM * np.array([1.0, 0.7, 0.5])
CENTRE = np.array([60.0, -20.0, 900.0])
DRAFT = RefinementOptions(preset="draft", device="cpu", resultMode=IN_PLACE, force=True)


def rotation(degrees: float) -> np.ndarray:
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1.0]])


def patient_grid(spacing_mm=(3.0, 3.0, 3.0), degrees: float = 0.0) -> ImageGeometry:
    size = np.ceil(2 * (SIZE_MM + 12) / np.array(spacing_mm)).astype(int)
    corner = rotation(degrees) @ (0.5 * (size - 1) * spacing_mm)
    return ImageGeometry.from_parts(size, spacing_mm, CENTRE - corner, rotation(degrees))


def vtk_matrix(array) -> vtk.vtkMatrix4x4:
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(np.asarray(array, dtype=float).ravel().tolist())
    return matrix


@pytest.fixture
def world(tmp_path):
    return new_scene(tmp_path)


def segmentation_of(world, geometry: ImageGeometry, to_local=None, volume: bool = True):
    """A bitten organ with a stray piece, and another segment, in one labelmap.

    ``to_local`` takes world to the node's own frame.
    """
    matrix = geometry.ijk_to_ras if to_local is None else to_local @ geometry.ijk_to_ras
    grid = Grid(np.asarray(matrix), (0, 0, 0), geometry.size_ijk)
    node = world.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "organs")
    organ = ellipsoid_mask(geometry, CENTRE, RADII)
    damaged = bite(organ, geometry, np.random.default_rng(3), radius_mm=18.0)
    damaged[-3:-1, -4:-1, -4:-1] = True
    far = np.zeros_like(organ)
    far[:2, :4, :5] = True
    for name, mask in (("organ", damaged), ("far", far)):
        source = slicer.vtkSegment()
        source.SetName(f"The {name}")
        newSegment(node.GetSegmentation(), source, name, mask, grid)
    node.GetSegmentation().CollapseBinaryLabelmaps(False)
    if volume:
        reference = world.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
        image = vtk.vtkImageData()
        image.SetDimensions(geometry.size_ijk)
        image.AllocateScalars(vtk.VTK_SHORT, 1)
        reference.SetAndObserveImageData(image)
        reference.SetIJKToRASMatrix(vtk_matrix(geometry.ijk_to_ras))
        node.SetReferenceImageGeometryParameterFromVolumeNode(reference)
    return node, grid, organ, damaged, far


def moved_by(world, matrix):
    transform = world.scene.AddNewNodeByClass("vtkMRMLTransformNode")
    transform.SetMatrixTransformToParent(vtk_matrix(matrix))
    return transform


def dice(a, b) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def assert_refined(task, node, grid, organ, damaged, far) -> None:
    """The organ is nearer, its voxels are on the grid, the other segment is untouched, the surface fits the voxels."""
    assert task.status.state == "done", task.status.message
    after = segmentMask(node.GetSegmentation(), "organ", grid)
    assert dice(after, organ) > dice(damaged, organ)
    own_mask, own = ownMask(node.GetSegmentation(), "organ")
    offset = np.linalg.inv(grid.ijkToLocal) @ own.firstVoxelToLocal
    assert np.allclose(offset[:3, :3], np.eye(3), atol=1e-6) and np.allclose(offset[:3, 3], np.rint(offset[:3, 3]))
    assert own_mask.sum() == after.sum()
    assert np.array_equal(segmentMask(node.GetSegmentation(), "far", grid), far)
    (row,) = task.summary()
    surface = node.GetScene().GetNodeByID(row.modelNodeId).GetPolyData()
    mass = vtk.vtkMassProperties()
    mass.SetInputData(surface)
    voxel = abs(np.linalg.det(grid.ijkToLocal[:3, :3]))
    assert mass.GetVolume() == pytest.approx(after.sum() * voxel, rel=0.05)
    where = np.argwhere(after)[:, ::-1] @ grid.ijkToLocal[:3, :3].T + grid.ijkToLocal[:3, 3]
    bounds = np.array(surface.GetBounds()).reshape(3, 2)
    assert np.abs(bounds - np.stack([where.min(0), where.max(0)], axis=1)).max() < 5.0
    assert np.isfinite(changes(surface)).all() and surface.GetPointData().GetArray("confidence")


def run(world, node, template, options=DRAFT, **more) -> RefinementTask:
    task = RefinementTask(world.scene, node, {"organ": str(template)}, options, **more)
    task.start()
    task.wait()
    return task


def test_an_oblique_anisotropic_grid_is_kept_and_undo_gives_the_given_voxels(world, tiny_template_file):
    node, grid, organ, damaged, far = segmentation_of(world, patient_grid((2.5, 3.0, 5.0), 25.0))
    task = run(world, node, tiny_template_file)
    assert_refined(task, node, grid, organ, damaged, far)
    task.undo()
    assert np.array_equal(segmentMask(node.GetSegmentation(), "organ", grid), damaged)
    assert np.array_equal(segmentMask(node.GetSegmentation(), "far", grid), far)


def test_a_segmentation_under_a_linear_transform_is_refined_in_world_space(world, tiny_template_file):
    scale_and_move = np.eye(4)
    scale_and_move[:3, :3] = 2.0 * rotation(30.0)
    scale_and_move[:3, 3] = (100.0, -50.0, 20.0)
    # The node's own frame has the organ at half its size; only in the world it looks like the organ.
    node, grid, *masks = segmentation_of(world, patient_grid(), np.linalg.inv(scale_and_move))
    node.SetAndObserveTransformNodeID(moved_by(world, scale_and_move).GetID())
    task = RefinementTask(world.scene, node, {"organ": str(tiny_template_file)}, DRAFT)
    task.start()
    task.wait()
    assert_refined(task, node, grid, *masks)
    (row,) = task.summary()
    assert row.volumeBeforeMl == pytest.approx(masks[1].sum() * 27.0 / 1000)


def test_a_missing_reference_volume_and_a_cropped_labelmap_leave_room_to_grow(world, tiny_template_file):
    node, grid, organ, _damaged, far = segmentation_of(world, patient_grid(), volume=False)
    cut = organ.copy()
    cut[-15:] = False  # the labelmap ends where the organ was cut
    from ReShapeITSlicer.segmentVoxels import writeMask

    writeMask(node.GetSegmentation(), "organ", cut, grid)
    image = node.GetSegmentation().GetSegment("organ").GetRepresentation(LABELMAP)
    end = gridOfImage(image).start[2] + gridOfImage(image).size[2]
    options = RefinementOptions(preset="draft", device="cpu", resultMode=IN_PLACE, force=True)
    task = run(world, node, tiny_template_file, options)
    assert task.status.state == "done", task.status.message
    after = gridOfImage(node.GetSegmentation().GetSegment("organ").GetRepresentation(LABELMAP))
    assert after.start[2] + after.size[2] >= end
    assert np.array_equal(segmentMask(node.GetSegmentation(), "far", grid), far)


def test_the_reference_volume_says_the_grid_of_the_result(world, tiny_template_file):
    node, grid, organ, damaged, _far = segmentation_of(world, patient_grid())
    coarse = patient_grid((4.0, 4.0, 4.0))
    other = segmentation_of(world, coarse)[0]
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    task = run(world, node, tiny_template_file, referenceVolumeNode=other.GetNodeReference(role))
    assert task.status.state == "done", task.status.message
    _mask, own = ownMask(node.GetSegmentation(), "organ")
    assert np.allclose(own.ijkToLocal, coarse.ijk_to_ras)
    coarse_grid = Grid(coarse.ijk_to_ras, (0, 0, 0), coarse.size_ijk)
    after = segmentMask(node.GetSegmentation(), "organ", coarse_grid)
    assert dice(after, toGrid(organ, grid, coarse_grid)) > dice(toGrid(damaged, grid, coarse_grid), after) - 0.1


def fingerprint(world) -> list:
    """All nodes with their texts, and all voxels of all segments."""
    found = []
    for index in range(world.scene.GetNumberOfNodes()):
        node = world.scene.GetNthNode(index)
        found.append((node.GetID(), node.GetName()))
        if node.IsA("vtkMRMLSegmentationNode"):
            segmentation = node.GetSegmentation()
            for segmentId in [segmentation.GetNthSegmentID(n) for n in range(segmentation.GetNumberOfSegments())]:
                mask, grid = ownMask(segmentation, segmentId)
                layers = segmentation.GetNumberOfLayers(LABELMAP)
                found.append((segmentId, mask.tobytes(), grid.start, grid.size, layers))
    return found


@pytest.mark.parametrize("stage", ["", "read", "align", "fit", "blend"])
def test_cancel_at_any_stage_leaves_the_scene(world, tiny_template_file, tmp_path, stage):
    node = segmentation_of(world, patient_grid())[0]
    before = fingerprint(world)
    settings = EngineSettings(temporaryFolder=str(tmp_path))
    task = RefinementTask(world.scene, node, {"organ": str(tiny_template_file)}, DRAFT, engineSettings=settings)
    task.start()
    while stage and task.poll().stage != stage and not task.status.isFinished:
        time.sleep(0.002)
    task.cancel()
    assert task.poll().state in ("cancelled", "done")
    if task.status.state == "cancelled":
        assert fingerprint(world) == before and task.summary() == []
    assert not list(tmp_path.glob("reshapeit-*"))


def test_a_killed_engine_leaves_the_scene_and_one_sentence(world, tiny_template_file):
    node = segmentation_of(world, patient_grid())[0]
    before = fingerprint(world)
    task = RefinementTask(world.scene, node, {"organ": str(tiny_template_file)}, DRAFT)
    task.start()
    os.kill(task._engine.processId, signal.SIGKILL)
    status = task.wait()
    assert status.state == "failed" and status.message.count(".") == 1 and "killed" in status.message
    assert fingerprint(world) == before


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are set by a POSIX shell")
def test_a_full_disk_leaves_the_scene_and_one_sentence(world, tiny_template_file, tmp_path):
    node = segmentation_of(world, patient_grid())[0]
    before = fingerprint(world)
    program = tmp_path / "python"
    program.write_text(f'#!/bin/sh\nulimit -f 1\nexec {sys.executable} "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    settings = EngineSettings(pythonExecutable=str(program))
    task = run(world, node, tiny_template_file, engineSettings=settings)
    assert task.status.state == "failed" and task.status.message and "\n" not in task.status.message
    assert fingerprint(world) == before


def test_a_temporary_folder_that_takes_no_files_is_told_at_the_start(world, tiny_template_file, tmp_path):
    node = segmentation_of(world, patient_grid())[0]
    settings = EngineSettings(temporaryFolder=str(tmp_path / "missing"))
    task = RefinementTask(world.scene, node, {"organ": str(tiny_template_file)}, DRAFT, engineSettings=settings)
    with pytest.raises(RefinementError, match="Temporary files cannot be written"):
        task.start()
    assert task.status.state == "idle"


@pytest.mark.parametrize("what", ["node", "segment", "voxels"])
def test_what_is_deleted_or_changed_while_running_is_told_and_nothing_is_written(world, tiny_template_file, what):
    node, grid, organ, *_ = segmentation_of(world, patient_grid())
    task = RefinementTask(world.scene, node, {"organ": str(tiny_template_file)}, DRAFT)
    task.start()
    if what == "node":
        world.scene.RemoveNode(node)
    elif what == "segment":
        node.GetSegmentation().RemoveSegment("organ")
    else:
        from ReShapeITSlicer.segmentVoxels import writeMask

        writeMask(node.GetSegmentation(), "organ", organ, grid)
    before = fingerprint(world)
    status = task.wait()
    assert status.state == "failed" and ("deleted" in status.message or "changed" in status.message)
    assert fingerprint(world) == before


def test_a_non_linear_transform_is_refused(world, tiny_template_file):
    node = segmentation_of(world, patient_grid())[0]
    transform = world.scene.AddNewNodeByClass("vtkMRMLTransformNode")
    spline = vtk.vtkThinPlateSplineTransform()
    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    for point in np.random.default_rng(1).uniform(-50, 50, (6, 3)):
        source.InsertNextPoint(point)
        target.InsertNextPoint(point + np.sin(point))
    spline.SetBasisToR()
    spline.SetSourceLandmarks(source)
    spline.SetTargetLandmarks(target)
    transform.SetAndObserveTransformToParent(spline)
    node.SetAndObserveTransformNodeID(transform.GetID())
    before = fingerprint(world)
    with pytest.raises(RefinementError, match="non-linear transform"):
        RefinementTask(world.scene, node, {"organ": str(tiny_template_file)}, DRAFT).start()
    assert fingerprint(world) == before


def test_the_console_refines_by_name_and_tells_what_is_wrong(world, tiny_template_file, tmp_path):
    node, *_ = segmentation_of(world, patient_grid())
    logic, told = ReShapeITLogic(world.scene), []
    named = Path(tmp_path / "a,b=c")
    named.mkdir()
    template = named / tiny_template_file.name
    template.write_bytes(tiny_template_file.read_bytes())
    task = logic.refine(node, {"The organ": str(template)}, told.append, preset="draft", device="cpu")
    assert [row.resultSegmentId for row in task.summary()] == ["organ_refined"]
    assert any("The organ:" in text for text in told)
    for templates, options, words in (
        ({"nothing": str(template)}, {}, "no segment 'nothing'"),
        ({"organ": "no such template"}, {}, "no organ template"),
        ({"organ": str(template)}, {"preset": "best"}, "preset is 'best'"),
        ({"organ": str(template)}, {"colour": 1}, "no such option"),
        ({}, {}, "No segment is chosen"),
    ):
        with pytest.raises(RefinementError, match=words):
            logic.refine(node, templates, None, **options)
    with pytest.raises(RefinementError, match="does not look|unlike|far|'The far'"):
        logic.refine(node, {"far": str(template)}, None, preset="draft", device="cpu")
