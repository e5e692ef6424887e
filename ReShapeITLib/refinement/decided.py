"""The fifth stage: where the given organ stays and where the expected one takes its place."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..core.geometry import ImageGeometry
from ..core.mesh import TriangleSurface
from ..core.progress import Progress
from ..distance.combinators import BlendedField
from ..distance.protocol import Box
from ..distance.smooth import is_coarse, smooth_distance_grid
from ..distance.surface import DistanceGrid, surface_from_grid
from .expected import Expected
from .given import Given

_MARGIN_MM = 4.0


@dataclass(frozen=True, eq=False)
class Decided:
    """The decision.

    Args:
        expected: what was decided between.
        given: the organ with the surface that is shown of it.
        field: given and expected organ, blended.
        bounds_ras: box (RAS mm) that holds the blended organ.
    """

    expected: Expected
    given: Given
    field: BlendedField
    bounds_ras: Box


def decide(expected: Expected, progress: Progress) -> Decided:
    """The expected organ in the suggestions that are taken, the given one elsewhere."""
    healed, given = expected.healed, expected.restored.given
    if given.annotation is not None:
        bounds = _box_around(given.surface, given.surface if healed is None else healed.surface)
        return Decided(expected, given, _through_annotation(expected), bounds)
    progress.stage("blend", 0.8)
    given = as_shown(given)
    field = replace(healed.field, given=given.grid, expected=expected.expected)
    return Decided(expected, given, field, _box_around(given.surface, healed.surface))


def as_shown(given: Given) -> Given:
    """The organ with the surface that is shown of coarse voxels.

    Only once all is decided: most organs of training were smoothed as fine ones are, and what the network decides
    depends on that.
    """
    if given.blur_mm or not is_coarse(given.geometry.spacing_mm):
        return given
    grid = smooth_distance_grid(given.kept, given.geometry)
    all_kept = given.kept.sum() == given.mask.sum()
    surface = surface_from_grid(grid if all_kept else smooth_distance_grid(given.mask, given.geometry))
    return replace(given, distance_of=smooth_distance_grid, grid=grid, surface=surface)


def _through_annotation(expected: Expected) -> BlendedField:
    """The expected organ everywhere, bent through the contours of the sparse annotation."""
    annotation = expected.restored.given.annotation
    everywhere = ImageGeometry.from_parts((1, 1, 1), (1.0, 1.0, 1.0))
    weight = DistanceGrid(np.ones((1, 1, 1), dtype=np.float32), everywhere)
    return BlendedField(annotation.distance, annotation.through_contours(expected.expected), weight)


def _box_around(*surfaces: TriangleSurface) -> Box:
    """A box that holds all the surfaces, with a margin."""
    lower = np.min([surface.vertices_ras.min(0) for surface in surfaces], axis=0)
    upper = np.max([surface.vertices_ras.max(0) for surface in surfaces], axis=0)
    return lower - _MARGIN_MM, upper + _MARGIN_MM
