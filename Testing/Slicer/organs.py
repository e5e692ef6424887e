"""Damaged generated organs in a scene, with a CT-like volume as their reference."""

from __future__ import annotations

import numpy as np

from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.damage.shapes import bite
from Testing.tiny_template import SIZE_MM, ellipsoid_mask

RADII = SIZE_MM * np.array([1.0, 0.7, 0.5])
CENTRE = np.array([60.0, -20.0, 900.0])
APART_MM = 2.4 * SIZE_MM
SPACING_MM = 3.0


def add_organs(scene, names) -> tuple:
    """A segmentation "organs" with bitten organs side by side from front to back.

    Args:
        scene: vtkMRMLScene.
        names: of the segments; their ids are organ0, organ1, ...

    Returns:
        The node, its Grid, and (K, J, I) bool masks by segment id, with the first organ's undamaged as "truth".
    """
    import slicer
    import vtk
    from ReShapeITSlicer.geometry import Grid
    from ReShapeITSlicer.segmentVoxels import newSegment

    length = 2 * (SIZE_MM + 12) + APART_MM * (len(names) - 1)
    size = np.ceil(np.array([2 * (SIZE_MM + 12), length, 2 * (SIZE_MM + 12)]) / SPACING_MM).astype(int)
    first = CENTRE - (SIZE_MM + 12)
    geometry = ImageGeometry.from_parts(size, (SPACING_MM,) * 3, first)
    grid = Grid(geometry.ijk_to_ras, (0, 0, 0), geometry.size_ijk)
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "organs")
    node.CreateDefaultDisplayNodes()
    masks, voxels = {}, np.full(geometry.shape_kji, -80, dtype=np.int16)
    for index, name in enumerate(names):
        organ = ellipsoid_mask(geometry, CENTRE + [0.0, index * APART_MM, 0.0], RADII)
        masks.setdefault("truth", organ)
        voxels[organ] = 90
        damaged = bite(organ, geometry, np.random.default_rng(3 + index), radius_mm=18.0)
        source = slicer.vtkSegment()
        source.SetName(name)
        newSegment(node.GetSegmentation(), source, f"organ{index}", damaged, grid)
        masks[f"organ{index}"] = damaged
    node.GetSegmentation().CollapseBinaryLabelmaps(False)
    reference = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    voxels += np.random.default_rng(1).integers(-15, 16, voxels.shape, dtype=np.int16)
    slicer.util.updateVolumeFromArray(reference, voxels)
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(geometry.ijk_to_ras.ravel().tolist())
    reference.SetIJKToRASMatrix(matrix)
    node.SetReferenceImageGeometryParameterFromVolumeNode(reference)
    return node, grid, masks


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Dice of two masks."""
    return 2 * (a & b).sum() / (a.sum() + b.sum())
