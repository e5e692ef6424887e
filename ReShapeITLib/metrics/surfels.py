"""The surface of a mask as surface elements ("surfels") with areas, and the distances between two such surfaces.

A surfel stands for each corner point of the voxel grid whose 2 x 2 x 2 neighbouring voxels are neither all inside nor
all outside. It lies at the corner point, and its area is that of the marching cubes triangles between the eight voxels.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

_ALL_INSIDE = 255  # code of a corner point whose eight voxels are all inside
_NEAR_VOXELS = 10  # up to here a tree is the fastest way to the nearest surfel
_VOXELS_PER_TREE_QUERY = 5000  # a distance transform of that many voxels costs about a bad search in the tree


def neighbourhood_codes(mask: np.ndarray) -> np.ndarray:
    """The eight voxels around each corner point of the grid, also of those on its border.

    Args:
        mask: (K, J, I) bool; everything beyond it is outside.

    Returns:
        (K+1, J+1, I+1) uint8 with bit ``4 dk + 2 dj + di`` for the neighbour on that side.
    """
    padded = np.pad(mask, 1).astype(np.uint8)
    codes = np.zeros([n + 1 for n in mask.shape], dtype=np.uint8)
    for bit, offset in enumerate(np.ndindex(2, 2, 2)):
        codes |= padded[tuple(slice(d, d + n) for d, n in zip(offset, codes.shape, strict=True))] << bit
    return codes


def is_surfel(codes: np.ndarray) -> np.ndarray:
    """Where neighbourhood codes have voxels inside and outside."""
    return (codes != 0) & (codes != _ALL_INSIDE)


def surfel_areas_mm2(ijk_to_mm: np.ndarray) -> np.ndarray:
    """(256,) area in mm^2 for each neighbourhood code, with the voxel axes as columns of (3, 3) ``ijk_to_mm``.

    Codes with more than four voxels inside take the area of their complement, so that a mask and its complement have
    the same surface; marching cubes alone differs there in the ambiguous cases.
    """
    areas = np.zeros(256)
    for code in range(1, _ALL_INSIDE):
        if code.bit_count() <= 4:
            triangles = _marching_cubes_triangles_ijk(code) @ ijk_to_mm.T
            normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
            areas[code] = areas[_ALL_INSIDE - code] = 0.5 * np.linalg.norm(normals, axis=1).sum()
    return areas


def _marching_cubes_triangles_ijk(code: int) -> np.ndarray:
    """(T, 3, 3) corner points of the triangles in a cell of unit size whose corners are inside as ``code`` says."""
    from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
    from vtkmodules.vtkCommonDataModel import vtkImageData
    from vtkmodules.vtkFiltersCore import vtkMarchingCubes

    cell = vtkImageData()
    cell.SetDimensions(2, 2, 2)
    cell.GetPointData().SetScalars(numpy_to_vtk((code >> np.arange(8) & 1).astype(np.float32), deep=True))
    contour = vtkMarchingCubes()
    contour.SetInputData(cell)
    contour.SetValue(0, 0.5)
    contour.ComputeNormalsOff()
    contour.Update()
    points = vtk_to_numpy(contour.GetOutput().GetPoints().GetData()).astype(np.float64)
    return points[vtk_to_numpy(contour.GetOutput().GetPolys().GetConnectivityArray()).reshape(-1, 3)]


def surfel_distances_mm(from_surfels: np.ndarray, to_surfels: np.ndarray, ijk_to_mm: np.ndarray) -> np.ndarray:
    """Distance from every surfel of one mask to the nearest surfel of another.

    Real segmentations agree nearly everywhere, where a tree needs a tenth of the time of a distance transform. Its
    searches degenerate for points far from a smooth surface, to which thousands of surfels are almost equally close;
    so many such points get the distance transform, whose time is bounded.

    Args:
        from_surfels, to_surfels: bool arrays of one shape, true at the corner points with a surfel; neither is empty.
        ijk_to_mm: (3, 3) voxel axes as columns. Sheared grids always use the tree.

    Returns:
        (N,) float64, in the order of ``np.nonzero(from_surfels)``.
    """
    distances_mm = np.zeros(np.count_nonzero(from_surfels))
    pending = ~to_surfels[from_surfels]
    if not pending.any():
        return distances_mm
    points_mm = np.argwhere(from_surfels)[:, ::-1] @ ijk_to_mm.T
    # These options keep the tree quick on lattice points, whose many equal coordinates have no median.
    tree = cKDTree(np.argwhere(to_surfels)[:, ::-1] @ ijk_to_mm.T, balanced_tree=False, compact_nodes=False)
    near_mm = _NEAR_VOXELS * abs(np.linalg.det(ijk_to_mm)) ** (1 / 3)
    distances_mm[pending] = tree.query(points_mm[pending], distance_upper_bound=near_mm)[0]
    pending = np.isinf(distances_mm)
    if not _axes_are_orthogonal(ijk_to_mm) or np.count_nonzero(pending) * _VOXELS_PER_TREE_QUERY < to_surfels.size:
        distances_mm[pending] = tree.query(points_mm[pending])[0]
    else:
        nearest_kji = _nearest_surfels_kji(to_surfels, ijk_to_mm)[:, from_surfels][:, pending]
        distances_mm[pending] = np.linalg.norm(points_mm[pending] - nearest_kji[::-1].T @ ijk_to_mm.T, axis=1)
    return distances_mm


def _nearest_surfels_kji(surfels: np.ndarray, ijk_to_mm: np.ndarray) -> np.ndarray:
    """(3, K, J, I) indices of the surfel nearest to each corner point."""
    spacing_kji_mm = np.linalg.norm(ijk_to_mm, axis=0)[::-1]
    return ndimage.distance_transform_edt(
        ~surfels, sampling=spacing_kji_mm, return_distances=False, return_indices=True
    )


def _axes_are_orthogonal(ijk_to_mm: np.ndarray) -> bool:
    directions = ijk_to_mm / np.linalg.norm(ijk_to_mm, axis=0)
    return bool(np.abs(directions.T @ directions - np.eye(3)).max() < 1e-4)
