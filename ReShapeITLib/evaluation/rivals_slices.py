"""Completion of an organ that was drawn on a few slices, without a template."""

from __future__ import annotations

import numpy as np

from ..between_slices import DrawnSlices, drawn_slices
from ..errors import BadInputError
from ..extraction import label_mask
from ..geometry import ImageGeometry
from ..mesh import TriangleSurface
from ..surface import surface_from_grid

_ROOM_MM = 4.0


def filled_between_slices(mask: np.ndarray, geometry: ImageGeometry) -> np.ndarray:
    """The Segment Editor's "Fill between slices": ITK's morphological contour interpolator, from the Slicer core.

    Args:
        mask: (K, J, I) bool, drawn on a few slices.
        geometry: of the mask.

    Raises:
        BadInputError: the Slicer core is not installed, or there is nothing between slices.
    """
    try:
        from slicer import vtkITKMorphologicalContourInterpolator
    except ImportError as error:
        raise BadInputError("'fill_between_slices' needs the Slicer core: pip install slicer-core.") from error
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

    axis, _ = drawn_slices(mask)
    image = vtk.vtkImageData()
    image.SetDimensions(*mask.shape[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(mask.astype(np.uint8).ravel(), deep=True))
    fill = vtkITKMorphologicalContourInterpolator()
    fill.SetAxis(2 - axis)
    fill.SetInputData(image)
    fill.Update()
    return vtk_to_numpy(fill.GetOutput().GetPointData().GetScalars()).reshape(mask.shape) != 0


def interpolated_between_slices(mask: np.ndarray, geometry: ImageGeometry) -> tuple[np.ndarray, TriangleSurface]:
    """Shape-based interpolation: what ``refine --sparse`` starts from; voxels and surface.

    Args:
        mask: (K, J, I) bool, drawn on a few slices.
        geometry: of the mask.
    """
    distance = DrawnSlices.of(mask, geometry).distance
    surface = surface_from_grid(distance)
    bounds = surface.vertices_ras.min(axis=0) - _ROOM_MM, surface.vertices_ras.max(axis=0) + _ROOM_MM
    return label_mask(distance.at_ras, geometry, bounds), surface
