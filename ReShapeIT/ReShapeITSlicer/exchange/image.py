"""The image beside a segmentation: which volume it is, and its voxels as a file in the scene's frame."""

from __future__ import annotations

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from ..errors import RefinementError
from ..geometry import Grid, conversionGrid, gridOfImage, localToWorld
from ..segmentVoxels import LABELMAP as VOXELS
from .nrrd import writeVolume

VOLUME, LABELMAP = "vtkMRMLScalarVolumeNode", "vtkMRMLLabelMapVolumeNode"
NO_IMAGE = "The volume {} has no image; choose another."
SEVERAL = "The volume {} has {} values a voxel; choose one with a single value."
NOT_INVERTIBLE = "The volume {} has a zero or missing spacing; load it again with its geometry."


def proposedImage(scene, segmentationNode):
    """The volume that a segmentation was made on, or None.

    It is the node's reference image. A segmentation that was loaded from a file has none, and one that was made from a
    label map has that at most, but its voxels lie on a grid: then the only volume with these voxels and perhaps more.
    """
    if segmentationNode is None:
        return None
    reference = segmentationNode.GetNodeReference(segmentationNode.GetReferenceImageGeometryReferenceRole())
    if reference is not None and _isImage(reference):
        return reference
    segmentation = segmentationNode.GetSegmentation()
    grid = conversionGrid(segmentation) or _labelmapGrid(segmentation)
    volumes = [scene.GetNthNodeByClass(index, VOLUME) for index in range(scene.GetNumberOfNodesByClass(VOLUME))]
    found = [volume for volume in volumes if grid is not None and _isImage(volume) and _isOn(volume, grid)]
    return found[0] if len(found) == 1 else None


def checkImage(scene, volumeNode) -> None:
    """Complain about a volume that cannot be asked.

    :raises RefinementError: it is not in the scene, empty, of several values a voxel, flat, or non-linearly moved.
    """
    if not scene.IsNodePresent(volumeNode):
        raise RefinementError("The volume beside the segmentation is not in the scene; choose another or none.")
    name, image = volumeNode.GetName(), volumeNode.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None or min(image.GetDimensions()) < 1:
        raise RefinementError(NO_IMAGE.format(name))
    if image.GetNumberOfScalarComponents() != 1:
        raise RefinementError(SEVERAL.format(name, image.GetNumberOfScalarComponents()))
    if abs(np.linalg.det(_ijkToWorld(volumeNode)[:3, :3])) < 1e-12:
        raise RefinementError(NOT_INVERTIBLE.format(name))


def writeImage(path, volumeNode) -> None:
    """Write the voxels of a volume, where its transforms put it in the world.

    :raises OSError: the file cannot be written.
    :raises RefinementError: the volume is under a non-linear transform.
    """
    image = volumeNode.GetImageData()
    voxels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])
    writeVolume(path, voxels, _ijkToWorld(volumeNode))


def _ijkToWorld(volumeNode) -> np.ndarray:
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    return localToWorld(volumeNode) @ slicer.util.arrayFromVTKMatrix(matrix)


def _isImage(node) -> bool:
    return node.IsA(VOLUME) and not node.IsA(LABELMAP) and node.GetImageData() is not None


def _labelmapGrid(segmentation) -> Grid | None:
    """Of the first segment that has voxels."""
    for index in range(segmentation.GetNumberOfSegments()):
        image = segmentation.GetNthSegment(index).GetRepresentation(VOXELS)
        if image is not None and min(image.GetDimensions()) > 0:
            return gridOfImage(image)
    return None


def _isOn(volumeNode, grid: Grid) -> bool:
    """True where a volume has the voxels of a grid, as both lie without their transforms."""
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    own = Grid(slicer.util.arrayFromVTKMatrix(matrix), (0, 0, 0), volumeNode.GetImageData().GetDimensions())
    return own.onLatticeOf(grid) and own.enlarged(grid).size == own.size
