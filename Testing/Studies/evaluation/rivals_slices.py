"""Completion of an organ that was drawn on a few slices, without a template."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.core.mesh import TriangleSurface
from ReShapeITLib.distance.between_slices import SparseAnnotation, annotated_slices
from ReShapeITLib.distance.narrow_band import label_mask
from ReShapeITLib.distance.surface import surface_from_grid

_ROOM_MM = 4.0


def filled_between_slices(mask: np.ndarray, geometry: ImageGeometry) -> np.ndarray:
    """The Segment Editor's "Fill between slices": ITK's morphological contour interpolator, from the Slicer core.

    Args:
        mask: (K, J, I) bool, drawn on a few slices.
        geometry: of the mask.

    Raises:
        BadInputError: the Slicer core is not installed, or there is nothing between slices.
    """
    if importlib.util.find_spec("slicer") is None:
        raise BadInputError("'fill_between_slices' needs the Slicer core: pip install slicer-core.")
    axis, _ = annotated_slices(mask)
    # In a process of its own: the ITK in the Slicer core and the one in SimpleITK end a common process with a crash.
    with tempfile.TemporaryDirectory() as folder:
        given, filled = Path(folder) / "given.npy", Path(folder) / "filled.npy"
        np.save(given, mask.astype(np.uint8), allow_pickle=False)
        program = "Testing.Studies.evaluation.slicer_fill"
        command = [sys.executable, "-m", program, str(given), str(2 - axis), str(filled)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if not filled.exists():
            raise BadInputError(f"The Slicer core could not fill between the slices: {done.stderr.strip()[-200:]}")
        return np.load(filled, allow_pickle=False) != 0


def interpolated_between_slices(mask: np.ndarray, geometry: ImageGeometry) -> tuple[np.ndarray, TriangleSurface]:
    """Shape-based interpolation: what ``refine --sparse`` starts from; voxels and surface.

    Args:
        mask: (K, J, I) bool, drawn on a few slices.
        geometry: of the mask.
    """
    distance = SparseAnnotation.of(mask, geometry).distance
    surface = surface_from_grid(distance)
    bounds = surface.vertices_ras.min(axis=0) - _ROOM_MM, surface.vertices_ras.max(axis=0) + _ROOM_MM
    return label_mask(distance.sdf_mm, geometry, bounds), surface
