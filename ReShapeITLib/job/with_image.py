"""The image as third witness: what it makes of an organ that shape alone refined."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import Notice
from ..distance.protocol import box_around

if TYPE_CHECKING:
    import numpy as np

    from ..core.geometry import ImageGeometry
    from ..image.band import Image
    from ..refinement.refined import RefinedShape


def with_image(
    shape: RefinedShape,
    image: Image | None,
    organ: str,
    sparse: bool = False,
    notice: Callable[[str], None] = lambda text: None,
) -> tuple[RefinedShape, dict | None]:
    """The refined organ as shape and image agree on it, and what the report says about the image.

    Args:
        shape: what shape alone makes of the given organ.
        image: that was segmented; None leaves the shape as it is.
        organ: name in the template.
        sparse: the given organ is a sparse annotation: what was drawn stays, so the image has no say.
        notice: called with a sentence where the image has no say.

    Raises:
        BadInputError: the image does not cover the organ.
    """
    if image is None:
        return shape, None
    from ..image.witness import agreed_with_image

    if sparse:
        words = "The image {input} has no say on the {organ}: it is drawn on a few slices."
        notice(Notice(words, "image.sparse", input=image.source, organ=organ))
        return shape, {"status": "sparse"}
    vertices = shape.given_surface.vertices_ras
    box = box_around(shape.bounds_ras, (vertices.min(axis=0), vertices.max(axis=0)))
    agreed = agreed_with_image(shape.field.given, shape.distance, box, image, organ, notice)
    bounds = box_around(shape.bounds_ras, agreed.bounds_ras) if agreed.bounds_ras else shape.bounds_ras
    return replace(shape, distance=agreed.distance, bounds_ras=bounds), agreed.said.as_dict()


def image_of_organ(
    image: str | Path | Image | None, mask: np.ndarray, geometry: ImageGeometry, organ: str, sparse: bool = False
) -> Image | None:
    """The image that goes with an organ, read, and complained about before the work.

    Args:
        image: file or image; None is none.
        mask: (K, J, I) bool voxels of the given organ; geometry: theirs.
        organ: name in the template.
        sparse: the given organ is a sparse annotation, of which the image has no say.

    Raises:
        BadInputError: the image cannot be read, or does not cover the organ.
    """
    if image is None:
        return None
    from ..image.reading import read_image
    from ..image.witness import check_covers_organ

    read = read_image(image) if isinstance(image, str | Path) else image
    if not sparse:
        check_covers_organ(read, mask, geometry, organ)
    return read
