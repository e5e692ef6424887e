"""Voxel grids in the frame of a segmentation node, and masks that go from one grid to another.

Arrays are (K, J, I). "local" is the frame in which a segmentation's representations lie; a parent transform takes it
to world RAS mm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import slicer
import vtk

from .errors import RefinementError

GROW_MM = 20.0
NON_LINEAR = "{} is under a non-linear transform; harden the transform or take it away, then refine again."


@dataclass(frozen=True, eq=False)
class Grid:
    """A box of a lattice of voxels.

    :param ijkToLocal: (4, 4) from voxel indices to local mm.
    :param start: (3,) index of the first voxel along i, j, k.
    :param size: (3,) voxels along i, j, k.
    """

    ijkToLocal: np.ndarray
    start: tuple[int, int, int]
    size: tuple[int, int, int]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an array on this grid, (K, J, I)."""
        return self.size[::-1]

    @property
    def firstVoxelToLocal(self) -> np.ndarray:
        """(4, 4) for indices that start at 0."""
        return self.ijkToLocal @ _shift(self.start)

    def cropped(self, mask: np.ndarray, margin: int = 0) -> Grid:
        """The smallest box, and a margin of voxels within this grid, that holds all voxels of a mask."""
        low, high = [], []
        for axis in range(3):  # i, j, k
            line = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != 2 - axis)))
            low.append(max(int(line[0]) - margin, 0) if len(line) else 0)
            high.append(min(int(line[-1]) + margin + 1, self.size[axis]) if len(line) else 0)
        start = tuple(first + shift for first, shift in zip(self.start, low, strict=True))
        return Grid(self.ijkToLocal, start, tuple(h - lo for lo, h in zip(low, high, strict=True)))

    def enlarged(self, other: Grid) -> Grid:
        """The box of this lattice that holds this and another grid."""
        start, end = _boxOf(other, np.linalg.inv(self.ijkToLocal))
        low = np.minimum(self.start, start)
        high = np.maximum(np.add(self.start, self.size), end)
        return Grid(self.ijkToLocal, tuple(map(int, low)), tuple(map(int, high - low)))

    def onLatticeOf(self, other: Grid) -> bool:
        """True where both number the same voxel centres, perhaps from another start."""
        between = np.linalg.inv(other.ijkToLocal) @ self.ijkToLocal
        off = np.abs(between[:3, :3] - np.eye(3)) @ np.abs([self.start, np.add(self.start, self.size)]).max(axis=0)
        return bool(off.max() < 1e-3 and np.abs(between[:3, 3] - np.rint(between[:3, 3])).max() < 1e-3)

    def grown(self, distance_mm: float, localToWorld: np.ndarray) -> Grid:
        """This box with a margin on all sides."""
        spacing_mm = np.linalg.norm((localToWorld @ self.ijkToLocal)[:3, :3], axis=0)
        margin = np.ceil(distance_mm / spacing_mm).astype(int)
        start, size = np.subtract(self.start, margin), np.add(self.size, 2 * margin)
        return Grid(self.ijkToLocal, tuple(map(int, start)), tuple(map(int, size)))


def toGrid(mask: np.ndarray, source: Grid, target: Grid) -> np.ndarray:
    """A bool mask of one grid on another; exact where the lattices agree, else the nearest voxel."""
    result = np.zeros(target.shape, dtype=bool)
    if not mask.size or not result.size:
        return result
    sourceFromTarget = np.linalg.inv(source.firstVoxelToLocal) @ target.firstVoxelToLocal
    start, end = _boxOf(Grid(np.eye(4), (0, 0, 0), source.size), np.linalg.inv(sourceFromTarget))
    low, high = np.maximum(start, 0), np.minimum(end, target.size)
    if (low >= high).any():
        return result
    far = np.abs(sourceFromTarget[:3, :3] - np.eye(3)) @ np.asarray(target.size)
    if far.max() < 1e-2 and np.abs(sourceFromTarget[:3, 3] - np.rint(sourceFromTarget[:3, 3])).max() < 1e-2:
        move = np.rint(sourceFromTarget[:3, 3]).astype(int)
        low, high = np.maximum(-move, 0), np.minimum(np.subtract(source.size, move), target.size)
        if (low < high).all():
            result[_slices(low, high)] = mask[_slices(low + move, high + move)]
        return result
    i, j = np.meshgrid(np.arange(low[0], high[0]), np.arange(low[1], high[1]))
    for k in range(low[2], high[2]):
        points = np.stack([i.ravel(), j.ravel(), np.full(i.size, k)], axis=1)
        nearest = np.floor(points @ sourceFromTarget[:3, :3].T + sourceFromTarget[:3, 3] + 0.5).astype(int)
        inside = ((nearest >= 0) & (nearest < source.size)).all(axis=1)
        values = np.zeros(len(points), dtype=bool)
        values[inside] = mask[tuple(nearest[inside, ::-1].T)]
        result[k, low[1] : high[1], low[0] : high[0]] = values.reshape(i.shape)
    return result


def localToWorld(node) -> np.ndarray:
    """(4, 4) from the frame of a node to world RAS.

    :raises RefinementError: the node is under a non-linear transform.
    """
    transform, matrix = node.GetParentTransformNode(), vtk.vtkMatrix4x4()
    if transform is None:
        return np.eye(4)
    if not transform.IsTransformToWorldLinear():
        raise RefinementError(NON_LINEAR.format(node.GetName()))
    transform.GetMatrixTransformToWorld(matrix)
    array = slicer.util.arrayFromVTKMatrix(matrix)
    if abs(np.linalg.det(array[:3, :3])) < 1e-9:
        raise RefinementError(f"The transform of {node.GetName()} makes it flat; correct the transform.")
    return array


def referenceGrid(segmentationNode, referenceVolumeNode, segmentGrids) -> Grid:
    """The grid for results: of the reference volume, else of the segmentation's geometry, else of its labelmaps.

    :param segmentGrids: grids of the segments to refine, which it has to hold.
    :raises RefinementError: the volume is under a non-linear transform or has no image.
    """
    role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    volume = referenceVolumeNode or segmentationNode.GetNodeReference(role)
    toWorld = localToWorld(segmentationNode)
    if volume is not None and volume.GetImageData() is not None:
        matrix = vtk.vtkMatrix4x4()
        volume.GetIJKToRASMatrix(matrix)
        ijkToWorld = localToWorld(volume) @ slicer.util.arrayFromVTKMatrix(matrix)
        grid = Grid(np.linalg.inv(toWorld) @ ijkToWorld, (0, 0, 0), volume.GetImageData().GetDimensions())
    elif referenceVolumeNode is not None:
        raise RefinementError(f"The reference volume {volume.GetName()} has no image; choose another.")
    else:
        grid = conversionGrid(segmentationNode.GetSegmentation())
    known, grid = grid is not None, grid or segmentGrids[0]
    for segmentGrid in segmentGrids:
        grid = grid.enlarged(segmentGrid)
    # Labelmaps are cropped to their segments: without a known grid there must be room to grow.
    return grid if known else grid.grown(GROW_MM, toWorld)


def conversionGrid(segmentation) -> Grid | None:
    """The geometry that a segmentation remembers: 16 matrix elements and 6 bounds of the extent."""
    name = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    numbers = [float(word) for word in segmentation.GetConversionParameter(name).split(";") if word]
    if len(numbers) != 22:
        return None
    extent = np.array(numbers[16:]).astype(int)
    size = tuple(int(n) for n in extent[1::2] - extent[::2] + 1)
    return Grid(np.reshape(numbers[:16], (4, 4)), tuple(map(int, extent[::2])), size) if min(size) > 0 else None


def gridOfImage(image) -> Grid:
    """Of a vtkOrientedImageData."""
    matrix, extent = vtk.vtkMatrix4x4(), image.GetExtent()
    image.GetImageToWorldMatrix(matrix)
    size = tuple(max(0, extent[2 * axis + 1] - extent[2 * axis] + 1) for axis in range(3))
    return Grid(slicer.util.arrayFromVTKMatrix(matrix), extent[::2], size)


def _boxOf(grid: Grid, localToIndex: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First index and end of the box, in another lattice, that holds all voxel centres of a grid."""
    if min(grid.size) == 0:
        return np.full(3, 2**30), np.full(3, -(2**30))
    low = np.array(grid.start, dtype=float)
    corners = np.array(np.meshgrid(*zip(low, low + np.array(grid.size) - 1, strict=True))).reshape(3, -1).T
    matrix = localToIndex @ grid.ijkToLocal
    moved = corners @ matrix[:3, :3].T + matrix[:3, 3]
    # A lattice that agrees to rounding must not gain a voxel.
    return np.floor(moved.min(0) + 1e-3).astype(int), np.ceil(moved.max(0) - 1e-3).astype(int) + 1


def _shift(start) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = start
    return matrix


def _slices(low, high) -> tuple[slice, ...]:
    """Of a (K, J, I) array, for i, j, k bounds."""
    return tuple(slice(int(a), int(b)) for a, b in zip(low[::-1], high[::-1], strict=True))
