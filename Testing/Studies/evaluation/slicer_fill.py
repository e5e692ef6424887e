"""Slicer's fill between slices on one array file, to be run as a process: GIVEN.npy AXIS_IJK FILLED.npy."""

from __future__ import annotations

import os
import sys

import numpy as np


def main(given: str, axis_ijk: str, filled: str) -> None:
    """Fill the (K, J, I) uint8 mask in a file between its slices, which lie across an axis, and write it to another."""
    import vtk
    from slicer import vtkITKMorphologicalContourInterpolator
    from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

    mask = np.load(given, allow_pickle=False)
    image = vtk.vtkImageData()
    image.SetDimensions(*mask.shape[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(mask.ravel(), deep=True))
    fill = vtkITKMorphologicalContourInterpolator()
    fill.SetAxis(int(axis_ijk))
    fill.SetInputData(image)
    fill.Update()
    result = vtk_to_numpy(fill.GetOutput().GetPointData().GetScalars()).reshape(mask.shape)
    with open(f"{filled}.part", "wb") as file:
        np.save(file, result, allow_pickle=False)
    os.replace(f"{filled}.part", filled)


if __name__ == "__main__":
    main(*sys.argv[1:])
