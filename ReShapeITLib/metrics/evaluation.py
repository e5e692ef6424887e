"""All metrics of one segmentation against its reference."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..core.geometry import ImageGeometry
from .masks import compare_masks
from .points import SurfaceMetrics, compare_surfaces

if TYPE_CHECKING:
    from ..core.mesh import TriangleSurface


@dataclass(frozen=True)
class SegmentationMetrics:
    """The metrics of section 4.2.3; see ``SurfaceMetrics`` and ``MaskMetrics`` for their definitions.

    Attributes:
        cd: Chamfer distance in the reference's unit sphere (dimensionless), not multiplied by 100.
        emd: earth mover's distance as mean distance, in the same frame.
        emd_squared: earth mover's distance of Eq. 10, a sum of squared distances in the same frame.
        dsc: Dice similarity coefficient, 0 to 1.
        nsd: normalised surface Dice at ``nsd_tolerance_mm``, 0 to 1.
        nsd_tolerance_mm: tolerance of ``nsd``.
        hd95_mm: 95 % Hausdorff distance.
        assd_mm: average symmetric surface distance.
    """

    cd: float
    emd: float
    emd_squared: float
    dsc: float
    nsd: float
    nsd_tolerance_mm: float
    hd95_mm: float
    assd_mm: float

    @property
    def cd_x100(self) -> float:
        """The Chamfer distance as the paper's tables print it."""
        return 100.0 * self.cd

    def to_json(self) -> dict[str, float | None]:
        """Fields by name; a distance without a finite value is ``None``, since JSON has no infinity."""
        return {name: value if math.isfinite(value) else None for name, value in asdict(self).items()}


def evaluate(
    reference_mask: np.ndarray,
    test_mask: np.ndarray,
    geometry: ImageGeometry,
    reference_surface: TriangleSurface | None = None,
    test_surface: TriangleSurface | None = None,
    nsd_tolerance_mm: float = 2.0,
    seed: int = 0,
) -> SegmentationMetrics:
    """All metrics of a segmentation against its reference.

    An empty test mask has ``dsc`` and ``nsd`` 0 and all distances infinite.

    Args:
        reference_mask, test_mask: (K, J, I) bool on the same grid.
        geometry: that grid.
        reference_surface, test_surface: closed surfaces in RAS mm for CD and EMD; extracted from the masks where
            not given.
        nsd_tolerance_mm: tolerance of the normalised surface Dice in mm.
        seed: of the points sampled for CD and EMD.

    Raises:
        BadInputError: a mask does not fit the grid, the reference is empty or the tolerance is not a length.
    """
    voxels = compare_masks(reference_mask, test_mask, geometry, nsd_tolerance_mm)
    if math.isinf(voxels.hd95_mm):
        surfaces = SurfaceMetrics(math.inf, math.inf, math.inf)
    else:
        surfaces = compare_surfaces(
            _surface_of(reference_mask, geometry, reference_surface),
            _surface_of(test_mask, geometry, test_surface),
            seed=seed,
        )
    return SegmentationMetrics(
        cd=surfaces.cd, emd=surfaces.emd_mean, emd_squared=surfaces.emd_squared, **asdict(voxels)
    )


def _surface_of(mask, geometry, surface) -> TriangleSurface:
    """``surface``, or that of the mask as it is: cleaning away specks and cavities would hide them from the metrics."""
    if surface is not None:
        return surface
    from ..distance.surface import SurfaceOptions, surface_from_mask

    return surface_from_mask(mask, geometry, SurfaceOptions(min_island_mm3=0.0, fill_holes=False))
