"""Boxes side by side in a scene and results of a refinement of them, whose voxels are known without computing any."""

from __future__ import annotations

import numpy as np
import slicer
from ReShapeITSlicer.exchange.exchange import Given, Refined
from ReShapeITSlicer.geometry import Grid, toGrid
from ReShapeITSlicer.options import RefinementOptions
from ReShapeITSlicer.review.changeMap import CHANGE
from ReShapeITSlicer.review.review import Review
from ReShapeITSlicer.segmentVoxels import newSegment, segmentMask, surfaceOf
from ReShapeITSlicer.templates import TemplateChoice
from vtk.util.numpy_support import numpy_to_vtk

from Testing.Slicer.scene import new_scene

MATRIX = np.array([[0.9, -0.8, 0.0, 12.0], [0.8, 0.9, 0.0, -40.0], [0.0, 0.0, 2.0, 900.0], [0, 0, 0, 1.0]])
GRID = Grid(MATRIX, (0, 0, 0), (30, 26, 20))
TAG = "Segmentation.Status"


def box(i, j=(4, 20), k=(4, 16)) -> np.ndarray:
    """(K, J, I) bool voxels of GRID between bounds."""
    mask = np.zeros(GRID.shape, dtype=bool)
    mask[slice(*k), slice(*j), slice(*i)] = True
    return mask


ORGANS = {"a": box((3, 10)), "b": box((10, 17)), "c": box((17, 24))}
WIDER = box((3, 13))  # a reaches three voxels into b


def world_of_boxes(folder):
    """``new_scene`` with ``node``, a segmentation of three boxes side by side in one labelmap."""
    world = new_scene(folder)
    world.node = add_boxes(world.scene)
    return world


def add_boxes(scene, display: bool = True):
    """A segmentation node of three boxes side by side in one labelmap."""
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "organs")
    if display:
        node.CreateDefaultDisplayNodes()
    for segment_id, mask in ORGANS.items():
        source = slicer.vtkSegment()
        source.SetName(f"organ {segment_id}")
        source.SetColor(0.1, 0.5, 0.9)
        source.SetTerminology(f"code of {segment_id}")
        source.SetTag(TAG, "inprogress")
        newSegment(node.GetSegmentation(), source, segment_id, mask, GRID)
    node.GetSegmentation().CollapseBinaryLabelmaps(False)
    return node


def refined(segment_id: str, after: np.ndarray, before=None) -> Refined:
    """A result whose surface moved by 3 mm at its first point and by -1 mm elsewhere."""
    before = ORGANS[segment_id] if before is None else before
    grid = GRID.cropped(before | after, margin=1)
    surface = surfaceOf(after, GRID)
    values = np.full(surface.GetNumberOfPoints(), -1.0, dtype=np.float32)
    values[0] = 3.0
    array = numpy_to_vtk(values, deep=True)
    array.SetName(CHANGE)
    surface.GetPointData().AddArray(array)
    plausibility = {"volume_z": 0.4, "problems": []}
    report = {
        "organ": "organ",
        "signed_change_mm": {"max_out": 3.0, "max_in": 1.0, "mean_abs": 1.0},
        "licence": "CC0-1.0",
        "non_commercial": False,
        "device": "cpu",
        "device_reason": "asked for",
        "plausibility": plausibility,
    }
    template = TemplateChoice("organ", "organ", "", "CC0-1.0", False, "")
    given = Given("organ1", segment_id, f"organ {segment_id}", template, grid, toGrid(before, GRID, grid))
    return Refined(given, grid, given.mask, toGrid(after, GRID, grid), surface, report)


def review(world, *results, **options) -> Review:
    """A review of results in the world's scene."""
    return Review(world.scene, world.node, list(results), RefinementOptions(**options), np.eye(4))


def voxels(node) -> dict[str, np.ndarray]:
    """(K, J, I) bool voxels on GRID of each segment of a node."""
    segmentation = node.GetSegmentation()
    ids = [segmentation.GetNthSegmentID(index) for index in range(segmentation.GetNumberOfSegments())]
    return {segment_id: segmentMask(segmentation, segment_id, GRID) for segment_id in ids}


def node_ids(scene) -> list[str]:
    """Ids of all nodes of a scene in their order."""
    return [scene.GetNthNode(index).GetID() for index in range(scene.GetNumberOfNodes())]


def shown_display(node, view_id: str = "vtkMRMLViewNode1"):
    """The display node that a view draws a segmentation with; exactly one must be."""
    displays = [node.GetNthDisplayNode(index) for index in range(node.GetNumberOfDisplayNodes())]
    (display,) = [display for display in displays if display.IsDisplayableInView(view_id)]
    return display


def item_names(scene) -> list[str]:
    """Names of all items of the scene's subject hierarchy, each after its parent."""
    import vtk

    hierarchy, ids = scene.GetFirstNodeByClass("vtkMRMLSubjectHierarchyNode"), vtk.vtkIdList()
    hierarchy.GetItemChildren(hierarchy.GetSceneItemID(), ids, True)
    return [hierarchy.GetItemName(ids.GetId(index)) for index in range(ids.GetNumberOfIds())]
