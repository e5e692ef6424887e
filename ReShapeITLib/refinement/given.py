"""The first stage: the given mask, cleaned, with its signed distance and surface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from ..core.geometry import ImageGeometry
from ..core.mesh import TriangleSurface
from ..distance.between_slices import SparseAnnotation
from ..distance.coarse_grid import coarse_behind
from ..distance.smooth import smooth_distance_grid
from ..distance.surface import (
    CleaningReport,
    DistanceGrid,
    bounding_crop,
    clean_mask,
    signed_distance_grid,
    surface_from_grid,
)
from ..restoration.detail import Detail
from .options import RefineOptions


@dataclass(frozen=True, eq=False)
class Given:
    """What is known of the given organ.

    Args:
        image_mask, image: (K, J, I) bool and geometry as given, cropped; where the organ ends at a border, the image
            does.
        mask, geometry: cleaned; on the coarse grid behind a resampled mask.
        kept: the mask without the components that no organ reaches.
        distance_of: makes the signed distance of a mask and its geometry.
        grid: of what is kept.
        surface: of the whole mask.
        cleaning: what was dropped or filled.
        annotation: the sparse annotation between whose slices ``grid`` is interpolated; None for a whole mask.
        blur_mm: half a voxel of the coarse grid behind a resampled mask; 0 for all others.
        detail: what coarse voxels hide, where a network was asked.
    """

    image_mask: np.ndarray
    image: ImageGeometry
    mask: np.ndarray
    geometry: ImageGeometry
    kept: np.ndarray
    distance_of: Callable[[np.ndarray, ImageGeometry], DistanceGrid]
    grid: DistanceGrid
    surface: TriangleSurface
    cleaning: CleaningReport
    annotation: SparseAnnotation | None = None
    blur_mm: float = 0.0
    detail: Detail | None = None


def given_organ(mask: np.ndarray, geometry: ImageGeometry, options: RefineOptions) -> Given:
    """A (K, J, I) bool mask, cleaned unless it is a sparse annotation.

    Raises:
        BadInputError: the mask is empty, or no sparse annotation where the options say that it is one.
    """
    # A layer of background tells an organ that ends from one that the border of the image cuts.
    start_ijk, image_mask = bounding_crop(mask, geometry, room=1)
    image = geometry.cropped(start_ijk, image_mask.shape[::-1])
    if options.sparse:
        return _from_annotation(image_mask, image, options)
    distance_of = partial(signed_distance_grid, options=options.surface)
    coarse = coarse_behind(image_mask, image)
    blur_mm = 0.0
    if coarse is not None:
        distance_of, blur_mm = smooth_distance_grid, 0.5 * float(coarse[1].spacing_mm.mean())
    own, own_geometry = coarse or (image_mask, image)
    cleaned, cleaning = clean_mask(own, own_geometry, options.surface)
    grid = distance_of(cleaned, own_geometry)
    return Given(
        image_mask=image_mask,
        image=image,
        mask=cleaned,
        geometry=own_geometry,
        kept=cleaned,
        distance_of=distance_of,
        grid=grid,
        surface=surface_from_grid(grid),
        cleaning=cleaning,
        blur_mm=blur_mm,
    )


def _from_annotation(mask: np.ndarray, image: ImageGeometry, options: RefineOptions) -> Given:
    annotation = SparseAnnotation.of(mask, image)
    return Given(
        image_mask=mask,
        image=image,
        mask=mask,
        geometry=image,
        kept=mask,
        distance_of=partial(signed_distance_grid, options=options.surface),
        grid=annotation.distance,
        surface=surface_from_grid(annotation.distance),
        cleaning=CleaningReport(),
        annotation=annotation,
    )
