"""The zero level of a grid of values as triangles, by VTK's flying edges (Schroeder et al., LDAV 2015)."""

from __future__ import annotations

import numpy as np


def zero_level(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) float64 in (i, j, k) and faces (F, 3) of the zero level of a (K, J, I) float32 array.

    No value may be 0, which would give faces without area. Faces look to where the values fall.
    """
    # Not the whole of vtk: that takes half a second more to load.
    from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
    from vtkmodules.vtkCommonDataModel import vtkImageData
    from vtkmodules.vtkFiltersCore import vtkFlyingEdges3D

    image = vtkImageData()
    image.SetDimensions(*values.shape[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(values.ravel(), deep=False))
    contour = vtkFlyingEdges3D()
    contour.SetInputData(image)
    contour.SetValue(0, 0.0)
    contour.ComputeNormalsOff()
    contour.ComputeGradientsOff()
    contour.ComputeScalarsOff()
    contour.Update()
    mesh = contour.GetOutput()
    vertices = vtk_to_numpy(mesh.GetPoints().GetData()).astype(np.float64)
    return vertices, vtk_to_numpy(mesh.GetPolys().GetConnectivityArray()).reshape(-1, 3).copy()
