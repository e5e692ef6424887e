"""The fifth stage: where the given organ stays and where the expected one takes its place."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..core.geometry import ImageGeometry
from ..core.mesh import TriangleSurface
from ..core.progress import Progress
from ..distance.combinators import BlendedField, WithinImage
from ..distance.protocol import Box
from ..distance.smooth import is_coarse, smooth_distance_grid
from ..distance.surface import DistanceGrid, surface_from_grid
from ..interaction.fitting import FittedField
from .blending import BlendOptions, field_weight, grid_points, main_piece, working_geometry
from .expected import Expected
from .given import Given
from .options import RefineOptions
from .truncation import Truncation, expected_within_image

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


def decide(expected: Expected, options: RefineOptions, progress: Progress) -> Decided:
    """Weigh given and expected organ against each other: by what the network doubts, or by how far they agree."""
    healed, given = expected.restored.healed, expected.restored.given
    if given.annotation is not None:
        bounds = _box_around(given.surface, given.surface if healed is None else healed.surface)
        return Decided(expected, given, _through_annotation(expected), bounds)
    progress.stage("blend", 0.8)
    given = as_shown(given)
    if healed is None:
        return Decided(expected, given, *_by_agreement(expected, given, options))
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


def blend(
    grid: DistanceGrid,
    given: TriangleSurface,
    fitted: FittedField,
    options: BlendOptions,
    truncation: Truncation | None = None,
) -> tuple[BlendedField, Box]:
    """The blended field of given surface and fitted field, and the box that holds both."""
    template_box = fitted.ras_to_unit.inverse().apply(1.05 * np.array(np.meshgrid(*[(-1, 1)] * 3)).reshape(3, -1).T)
    lower, upper = given.vertices_ras.min(0), given.vertices_ras.max(0)
    reach = 0.25 * (upper - lower) + 20.0
    # The field may add what is missing, but not beyond where the template can reach.
    lower = np.minimum(lower, np.maximum(lower - reach, template_box.min(0))) - _MARGIN_MM
    upper = np.maximum(upper, np.minimum(upper + reach, template_box.max(0))) + _MARGIN_MM
    geometry = working_geometry(lower, upper, options.cell_mm)
    points = grid_points(geometry)
    given_mm = grid.sdf_mm(points).reshape(geometry.shape_kji)
    fitted_mm = fitted.sdf_mm(points).reshape(geometry.shape_kji)
    fitted_mm = main_piece(fitted_mm, given_mm)
    weight = field_weight(given_mm, fitted_mm, options.cell_mm, options)
    within = None
    if truncation is not None and truncation.n_faces:
        fitted_mm = expected_within_image(given_mm, fitted_mm, geometry, truncation, options.add_mm, options.skin_mm)
        seen = field_weight(given_mm, fitted_mm, options.cell_mm, options)
        within = WithinImage(DistanceGrid(seen, geometry), truncation.within_image)
    return BlendedField(grid, fitted, DistanceGrid(weight, geometry), within), (lower, upper)


def _by_agreement(expected: Expected, given: Given, options: RefineOptions) -> tuple[BlendedField, Box]:
    """The blended field, and the box around it, by the agreement of given organ and fitted field alone."""
    fitted, aligned = expected.fit.field, expected.restored.aligned
    residual_unit = float(np.median(np.abs(fitted.sdf_mm(aligned.points_ras)))) / fitted.mm_per_unit
    tolerances = options.blend.scaled(fitted.mm_per_unit, aligned.plausibility.alignment_z, residual_unit)
    truncation = expected.restored.truncation
    return blend(given.grid, given.surface, fitted, tolerances, truncation)


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
