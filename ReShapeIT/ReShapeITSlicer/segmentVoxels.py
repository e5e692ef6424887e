"""Segments as masks and back, without touching the other segments of their segmentation.

Segments may share one cropped labelmap, and a segmentation may hold surfaces instead of voxels.
"""

from __future__ import annotations

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from .errors import RefinementError
from .geometry import Grid, gridOfImage, toGrid

LABELMAP = "Binary labelmap"
SURFACE = "Closed surface"


def segmentMask(segmentation, segmentId: str, grid: Grid) -> np.ndarray:
    """(K, J, I) bool voxels of a segment on a grid; nothing is changed."""
    if segmentation.GetSourceRepresentationName() == LABELMAP:
        mask, own = ownMask(segmentation, segmentId)
        return toGrid(mask, own, grid)
    image = _voxelised(segmentation, segmentId, grid)
    return toGrid(_voxels(image) > 0, gridOfImage(image), grid)


def ownMask(segmentation, segmentId: str) -> tuple[np.ndarray, Grid]:
    """Voxels of a segment and their own grid, for a segmentation whose source are labelmaps."""
    segment = segmentation.GetSegment(segmentId)
    image = segment.GetRepresentation(LABELMAP)
    if image is None or min(image.GetDimensions()) < 1 or image.GetPointData().GetScalars() is None:
        return np.zeros((0, 0, 0), dtype=bool), Grid(np.eye(4), (0, 0, 0), (0, 0, 0))
    return _voxels(image) == segment.GetLabelValue(), gridOfImage(image)


def fillFrom(image, segmentation, segmentId: str) -> None:
    """Let a vtkOrientedImageData be 1 where a segment is and 0 elsewhere, on its own grid."""
    voxels = _voxels(image)
    voxels[:] = segmentMask(segmentation, segmentId, gridOfImage(image))
    image.GetPointData().GetScalars().Modified()
    image.Modified()


def segmentName(segmentation, segmentId: str) -> str:
    """What to call a segment in messages: its name, with its id where others have the same, or the id alone."""
    ids = [segmentation.GetNthSegmentID(index) for index in range(segmentation.GetNumberOfSegments())]
    names = [segmentation.GetSegment(known).GetName() for known in ids]
    name = names[ids.index(segmentId)]
    if not name:
        return segmentId
    return f"{name} ({segmentId})" if names.count(name) > 1 else name


def segmentGrid(segmentation, segmentId: str, spacing_mm: float = 1.0) -> Grid:
    """A grid that holds a segment: its labelmap's, cropped, or a box around its surface.

    :raises RefinementError: the segment is empty, or of neither labelmaps nor closed surfaces.
    """
    segment, source = segmentation.GetSegment(segmentId), segmentation.GetSourceRepresentationName()
    if source not in (LABELMAP, SURFACE):
        name = segmentName(segmentation, segmentId)
        raise RefinementError(f"'{name}' is stored as {source.lower()}; convert it to a binary labelmap.")
    if source == LABELMAP:
        mask, grid = ownMask(segmentation, segmentId)
        if mask.any():
            return grid.cropped(mask)
    else:
        surface = segment.GetRepresentation(SURFACE)
        if surface is not None and surface.GetNumberOfPolys():
            bounds = np.array(surface.GetBounds()).reshape(3, 2) / spacing_mm
            low, high = np.floor(bounds[:, 0]).astype(int) - 1, np.ceil(bounds[:, 1]).astype(int) + 1
            matrix = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
            return Grid(matrix, tuple(map(int, low)), tuple(map(int, high - low + 1)))
    raise RefinementError(f"The segment '{segmentName(segmentation, segmentId)}' is empty; choose another.")


def writeMask(
    segmentation, segmentId: str, mask: np.ndarray, grid: Grid, surface=None, keepsSurface: bool = False
) -> None:
    """Replace what a segment is by a mask; other segments stay as they are.

    :param surface: vtkPolyData of the same shape, for segmentations whose source are surfaces; made where None.
    :param keepsSurface: a closed surface beside a labelmap stays as it was until ``renewSurface``, which takes longer.
    """
    segment = segmentation.GetSegment(segmentId)
    if segmentation.GetSourceRepresentationName() == SURFACE:
        hadLabelmap = segment.GetRepresentation(LABELMAP) is not None
        segment.RemoveRepresentation(LABELMAP)
        segment.AddRepresentation(SURFACE, surface or surfaceOf(mask, grid))
        if hadLabelmap:
            segmentation.CreateRepresentation(LABELMAP)
        return
    before = segment.GetRepresentation(SURFACE)
    # Of its own labelmap: a labelmap that is shared must not be edited.
    segmentation.SeparateSegmentLabelmap(segmentId)
    segment.RemoveRepresentation(SURFACE)
    segment.AddRepresentation(LABELMAP, imageOf(mask, grid))
    segment.SetLabelValue(1)
    if before is not None and keepsSurface:
        segment.AddRepresentation(SURFACE, before)
    elif before is not None:
        segmentation.CreateRepresentation(SURFACE)


def renewSurface(segmentation, segmentId: str, surface=None) -> None:
    """Let the closed surface beside a segment's labelmap be that of its voxels; nothing where there is none.

    :param surface: vtkPolyData of the same shape; made of the voxels where None.
    """
    segment = segmentation.GetSegment(segmentId)
    if segmentation.GetSourceRepresentationName() != LABELMAP or segment.GetRepresentation(SURFACE) is None:
        return
    segment.RemoveRepresentation(SURFACE)
    if surface is not None:
        segment.AddRepresentation(SURFACE, surface)
    else:
        segmentation.CreateRepresentation(SURFACE)


def newSegment(segmentation, source, segmentId: str, mask: np.ndarray, grid: Grid, before="", surface=None):
    """Add a segment with the colour, terminology and tags of another, in front of the segment ``before``."""
    segment = slicer.vtkSegment()
    segment.DeepCopyMetadata(source)
    if segmentation.GetSourceRepresentationName() == SURFACE:
        segment.AddRepresentation(SURFACE, surface or surfaceOf(mask, grid))
    else:
        segment.AddRepresentation(LABELMAP, imageOf(mask, grid))
        segment.SetLabelValue(1)
    segmentation.AddSegment(segment, segmentId, before)
    return segment


def savedSegment(segmentation, segmentId: str):
    """A deep copy of a segment, to be put back by restoreSegment."""
    copy = slicer.vtkSegment()
    copy.DeepCopy(segmentation.GetSegment(segmentId))
    return copy


def restoreSegment(segmentation, segmentId: str, saved) -> None:
    """Put a segment's voxels and surfaces back exactly."""
    segment = segmentation.GetSegment(segmentId)
    if segmentation.GetSourceRepresentationName() == LABELMAP:
        segmentation.SeparateSegmentLabelmap(segmentId)
    for name in (LABELMAP, SURFACE):
        kept = saved.GetRepresentation(name)
        if kept is None:
            segment.RemoveRepresentation(name)
        else:
            copy = kept.NewInstance()
            copy.DeepCopy(kept)
            segment.AddRepresentation(name, copy)
    segment.SetLabelValue(saved.GetLabelValue())


def shareLabelmaps(segmentation) -> None:
    """Put segments that do not overlap into fewer layers; no voxel changes.

    Only where all labelmaps lie on one lattice: Slicer resamples the others without a word, which changes segments.
    """
    if segmentation.GetSourceRepresentationName() != LABELMAP:
        return
    segments = [segmentation.GetNthSegment(index) for index in range(segmentation.GetNumberOfSegments())]
    images = [segment.GetRepresentation(LABELMAP) for segment in segments]
    grids = [gridOfImage(image) for image in images if image is not None and min(image.GetDimensions()) > 0]
    if all(grid.onLatticeOf(grids[0]) for grid in grids):
        segmentation.CollapseBinaryLabelmaps(False)


def imageOf(mask: np.ndarray, grid: Grid):
    """vtkOrientedImageData of a mask, cropped to its voxels, on the lattice of the grid."""
    box = grid.cropped(mask)
    image, matrix = slicer.vtkOrientedImageData(), vtk.vtkMatrix4x4()
    matrix.DeepCopy(np.asarray(grid.ijkToLocal, dtype=float).ravel().tolist())
    image.SetImageToWorldMatrix(matrix)
    bounds = zip(box.start, np.add(box.start, box.size) - 1, strict=True)
    image.SetExtent([int(bound) for pair in bounds for bound in pair])
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    if mask.any():
        _voxels(image)[:] = toGrid(mask, grid, box)
    return image


def surfaceOf(mask: np.ndarray, grid: Grid):
    """Closed surface (vtkPolyData, local mm) of a mask, by Slicer's own conversion."""
    scratch, segment = slicer.vtkSegmentation(), slicer.vtkSegment()
    scratch.SetSourceRepresentationName(LABELMAP)
    segment.AddRepresentation(LABELMAP, imageOf(mask, grid))
    segment.SetLabelValue(1)
    scratch.AddSegment(segment, "scratch")
    scratch.CreateRepresentation(SURFACE)
    surface = vtk.vtkPolyData()
    surface.DeepCopy(scratch.GetSegment("scratch").GetRepresentation(SURFACE))
    return surface


def _voxelised(segmentation, segmentId: str, grid: Grid):
    """Labelmap of a closed-surface segment, made in a copy."""
    scratch, converter = slicer.vtkSegmentation(), slicer.vtkSegmentationConverter
    scratch.SetSourceRepresentationName(SURFACE)
    segment = slicer.vtkSegment()
    segment.AddRepresentation(SURFACE, segmentation.GetSegment(segmentId).GetRepresentation(SURFACE))
    scratch.AddSegment(segment, "scratch")
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(np.asarray(grid.ijkToLocal, dtype=float).ravel().tolist())
    extent = [int(b) for pair in zip(grid.start, np.add(grid.start, grid.size) - 1, strict=True) for b in pair]
    geometry = converter.SerializeImageGeometry(matrix, extent)
    scratch.SetConversionParameter(converter.GetReferenceImageGeometryParameterName(), geometry)
    scratch.CreateRepresentation(LABELMAP)
    return scratch.GetSegment("scratch").GetRepresentation(LABELMAP)


def _voxels(image) -> np.ndarray:
    """(K, J, I) view of an image's values."""
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])
