"""What the image says on suggestions that the shape made: whether a region is as bright as the organ."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ..core.geometry import ImageGeometry
from .band import Image, sampled_image
from .brightness import compared
from .files import CT, available_image_model
from .model import image_model
from .reading import modality


def likeness_to_organ(
    image: Image, organ: str, given_mm: np.ndarray, expected_mm: np.ndarray, geometry: ImageGeometry
) -> np.ndarray | None:
    """(K, J, I) float32 log likelihood ratio organ : surroundings of each cell's brightness, NaN where the image does
    not reach; None where it has no say: no network for its kind knows the organ, or it tells nothing of the organ.

    Args:
        image: that was segmented.
        organ: TotalSegmentator's name.
        given_mm, expected_mm: (K, J, I) signed distances, limited or not, of the given organ and of the one that a
            witness expects.
        geometry: of the cells.
    """
    if not known_to_images(organ):
        return None
    values, covered = sampled_image(image, geometry)
    outermost_mm = np.minimum(given_mm, expected_mm)
    outside = outermost_mm >= 0.0  # where distances may be limited to a few cells
    away_mm = ndimage.distance_transform_edt(outside, sampling=geometry.spacing_mm[::-1])
    outermost_mm = np.where(outside, away_mm, outermost_mm)
    found = compared(values, covered, np.maximum(given_mm, expected_mm), outermost_mm)
    if found is None or modality(image, found.middle) != CT:
        return None
    return np.where(covered, found.ratio, np.float32(np.nan))


def known_to_images(organ: str) -> bool:
    """Whether the image network that is installed knows an organ."""
    file = available_image_model(CT)
    return file is not None and organ in image_model(file).info.organs
