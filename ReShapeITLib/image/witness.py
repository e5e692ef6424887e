"""From an organ and an image to the organ that both agree on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ..core.errors import BadInputError, Notice
from ..core.geometry import ImageGeometry
from ..distance.combinators import Corrected
from ..distance.protocol import Box, SignedDistance
from .band import Image, cropped_grid, sampled_distance, sampled_image, working_grid
from .decision import Moved, moved_surface
from .evidence import known_to_images
from .features import band_features
from .files import CT, available_image_model
from .model import ImageModel, image_model
from .reading import modality

_LEAST_COVERED = 0.98  # of the organ; a slice may be missing at the image's end
_ENOUGH_VOXELS = 50_000  # to know that share
USED, UNCERTAIN, NO_MODEL, OTHER_MODALITY, UNCHANGED = "used", "uncertain", "no_model", "modality", "unchanged"


@dataclass(frozen=True)
class ImageSaid:
    """What the report says about the image.

    Args:
        status: "used", "unchanged" (the surface lies on the edge), "uncertain", "no_model" or "modality" (the image is
            no CT in Hounsfield units).
        network: file of the image network; licence: of its weights. None where it was not asked.
        inside: mean P(organ) inside the organ by shape alone.
        separability: of organ and surroundings by brightness, 0.5 to 1.
        added_ml, removed_ml: against shape alone.
        moved_share: of the surface.
    """

    status: str
    network: str | None = None
    licence: str | None = None
    inside: float | None = None
    separability: float | None = None
    added_ml: float = 0.0
    removed_ml: float = 0.0
    moved_share: float = 0.0

    def as_dict(self) -> dict:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Agreed:
    """What shape and image agree on.

    Args:
        distance: the shape's own, or that with a correction.
        said: for the report.
        bounds_ras: box in RAS mm that holds what the image added; None where it moved nothing.
    """

    distance: SignedDistance
    said: ImageSaid
    bounds_ras: Box | None = None


def agreed_with_image(
    given: SignedDistance,
    shape: SignedDistance,
    box: Box,
    image: Image,
    organ: str,
    notice: Callable[[str], None] = lambda text: None,
    model: ImageModel | None = None,
) -> Agreed:
    """The shape, with its surface on the image's edge where the image is sure that it is beside it.

    Args:
        given, shape: the given organ and what shape alone makes of it.
        box: RAS mm, holds both.
        image: that was segmented.
        organ: TotalSegmentator's name.
        notice: told where the image has no say.
        model: instead of the network that is installed.

    Raises:
        BadInputError: the image does not overlap the organ, or covers it in part only.
    """
    about = {"input": image.source, "organ": organ}
    file = available_image_model(CT) if model is None else None
    model = image_model(file) if file else model
    if model is None or organ not in model.info.organs:
        words = "The image {input} has no say on the {organ}: no image network knows this organ."
        notice(Notice(words, "image.no_model", **about))
        return Agreed(shape, ImageSaid(NO_MODEL))
    grid = working_grid(box)
    shape_mm = sampled_distance(shape, grid)
    around, grid = cropped_grid(grid, shape_mm)
    shape_mm = shape_mm[around]
    given_mm = sampled_distance(given, grid)
    values, covered = sampled_image(image, grid)
    # Beyond a truncated field of view there is no image.
    _check_covers(covered[given_mm < 0], image, organ)
    if modality(image, float(np.median(values[covered & (shape_mm < 0)]))) != model.info.modality:
        words = "The image {input} has no say on the {organ}: it is no CT in Hounsfield units."
        notice(Notice(words, "image.modality", **about))
        return Agreed(shape, ImageSaid(OTHER_MODALITY))
    band = band_features(values, covered, given_mm, shape_mm)
    asked = {"network": model.name, "licence": model.info.licence}
    if band is None:
        words = "The image {input} has no say on the {organ}: all of the organ has one value there."
        notice(Notice(words, "image.flat", **about))
        return Agreed(shape, ImageSaid(UNCERTAIN, **asked))
    probability = np.zeros(grid.shape_kji, dtype=np.float32)
    probability[band.where] = model.probability(band.features, organ)
    moved = moved_surface(probability, band.where, shape_mm, model.numbers)
    asked |= {"inside": moved.inside, "separability": band.separability}
    if moved.inside < model.numbers.least_inside:
        words = "The image {input} has no say on the {organ}: it does not tell the organ from its surroundings."
        notice(Notice(words, "image.uncertain", **about))
        return Agreed(shape, ImageSaid(UNCERTAIN, **asked))
    if moved.correction_mm is None:
        return Agreed(shape, ImageSaid(UNCHANGED, **asked))
    bounds = _bounds(shape_mm + moved.correction_mm < 0, grid)
    return Agreed(Corrected(shape, moved.correction_mm, grid), _said(moved, asked), bounds)


def _bounds(inside: np.ndarray, grid: ImageGeometry) -> Box:
    """Box around the cells and the cells beside them."""
    cells = np.argwhere(inside)[:, ::-1]
    lower, upper = grid.ijk_to_ras_points(np.array([cells.min(axis=0) - 1, cells.max(axis=0) + 1]))
    return lower, upper


def _said(moved: Moved, asked: dict) -> ImageSaid:
    return ImageSaid(USED, **asked, added_ml=moved.added_ml, removed_ml=moved.removed_ml, moved_share=moved.moved_share)


def check_covers_organ(image: Image, mask: np.ndarray, geometry: ImageGeometry, organ: str) -> None:
    """What :func:`agreed_with_image` would complain about after the work, before it; nothing where no network knows
    the organ.

    Args:
        image: that was segmented.
        mask: (K, J, I) bool voxels of the given organ; geometry: theirs.
        organ: TotalSegmentator's name.

    Raises:
        BadInputError: the image does not overlap the organ, or covers it in part only.
    """
    if not known_to_images(organ):
        return
    voxels = np.argwhere(mask)
    some = voxels[:: max(1, len(voxels) // _ENOUGH_VOXELS), ::-1]
    ijk = image.geometry.ras_to_ijk_points(geometry.ijk_to_ras_points(some))
    _check_covers(((ijk > -0.5) & (ijk < np.array(image.geometry.size_ijk) - 0.5)).all(axis=1), image, organ)


def _check_covers(covered: np.ndarray, image: Image, organ: str) -> None:
    share = float(covered.mean()) if len(covered) else 0.0
    about = {"input": Path(image.source), "organ": organ}
    if share == 0.0:
        words, hint = "The image {input} does not overlap the {organ}", "give the image that was segmented"
        raise BadInputError(words, hint, "image.no_overlap", **about)
    if share < _LEAST_COVERED:
        words, hint = "The image {input} covers only {share} % of the {organ}", "give the image that was segmented"
        raise BadInputError(words, hint, "image.in_part", **about, share=round(100.0 * share))
