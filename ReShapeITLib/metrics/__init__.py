"""How close a segmentation is to its reference: the metrics of sections 4.2.3 and 8.1 of the ReShapeIT paper.

``points``      Chamfer distance (Eq. 9) and earth mover's distance (Eq. 10) of sampled surfaces
``masks``       Dice, normalised surface Dice, 95 % Hausdorff distance and average surface distance of voxels
``evaluation``  all of them for one pair of masks
"""

from .evaluation import SegmentationMetrics, evaluate
from .masks import MaskMetrics, compare_masks
from .points import SurfaceMetrics, chamfer_distance, compare_surfaces, earth_movers_distances

__all__ = [
    "MaskMetrics",
    "SegmentationMetrics",
    "SurfaceMetrics",
    "chamfer_distance",
    "compare_masks",
    "compare_surfaces",
    "earth_movers_distances",
    "evaluate",
]
