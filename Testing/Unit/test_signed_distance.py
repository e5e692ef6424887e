"""Everything that answers "signed mm at RAS points" is asked alike, and its box holds the organ."""

from __future__ import annotations

import numpy as np
import pytest

from ReShapeITLib.core.geometry import ImageGeometry, Similarity
from ReShapeITLib.distance.between_slices import SparseAnnotation
from ReShapeITLib.distance.combinators import (
    BlendedField,
    Corrected,
    Difference,
    FunctionDistance,
    Restricted,
    Union,
    WeightedMean,
)
from ReShapeITLib.distance.of_mesh import MeshDistance
from ReShapeITLib.distance.protocol import SignedDistance, box_around
from ReShapeITLib.distance.surface import DistanceGrid, signed_distance_grid, surface_from_grid
from ReShapeITLib.interaction.candidates import CandidateOptions, select_candidates
from ReShapeITLib.interaction.fitting import PendingFit, fit_field
from ReShapeITLib.interaction.options import FitOptions
from ReShapeITLib.refinement.several_organs.agreement import Region
from ReShapeITLib.templates.template import OrganTemplate
from Testing.tiny_template import ellipsoid_mask

CENTRE = np.array([4.0, -6.0, 100.0])
TURNED = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
GEOMETRY = ImageGeometry.from_parts((60, 64, 40), (1.0, 1.0, 1.5), CENTRE + [-32.0, 29.0, -30.0], TURNED)
MASK = ellipsoid_mask(GEOMETRY, CENTRE, 16.0)
RNG_POINTS = CENTRE + np.random.default_rng(0).uniform(-20.0, 20.0, size=(2000, 3))


def ball(radius_mm: float, shift: float = 0.0) -> FunctionDistance:
    """An exact distance."""
    centre = CENTRE + [shift, 0.0, 0.0]
    box = centre - radius_mm, centre + radius_mm
    return FunctionDistance(lambda points: np.linalg.norm(points - centre, axis=1) - radius_mm, box)


def annotated() -> SparseAnnotation:
    sparse = MASK.copy()
    sparse[np.setdiff1d(np.arange(len(MASK)), [14, 20, 26])] = False
    return SparseAnnotation.of(sparse, GEOMETRY)


def fitted_field(template_file) -> PendingFit:
    template = OrganTemplate.load(template_file)
    grid = signed_distance_grid(MASK, GEOMETRY)
    points, normals, _ = surface_from_grid(grid).sample_points(400, np.random.default_rng(0))
    to_unit = Similarity(1.0 / 30.0, np.eye(3), -CENTRE / 30.0)
    options = CandidateOptions(n_free=200)
    candidates = select_candidates(points, normals, np.ones(400), grid, to_unit, options, np.random.default_rng(1))
    return PendingFit(lambda: fit_field(template, candidates, to_unit, FitOptions(code_steps=2, weight_steps=0)))


def answers(template_file) -> dict[str, SignedDistance]:
    """One of each kind."""
    grid, annotation = signed_distance_grid(MASK, GEOMETRY), annotated()
    weight = DistanceGrid(np.full((2, 2, 2), 0.5, dtype=np.float32), ImageGeometry.from_parts((2, 2, 2), (1, 1, 1)))
    fit = fitted_field(template_file)
    return {
        "function": ball(16.0),
        "grid": grid,
        "mesh": MeshDistance(surface_from_grid(grid)),
        "region": Region(MASK, GEOMETRY),
        "between slices": annotation.distance,
        "through contours": annotation.through_contours(ball(15.0)),
        "pending fit": fit,
        "fitted field": fit.field,
        "union": Union(ball(12.0), ball(10.0, 5.0)),
        "difference": Difference(ball(16.0), ball(6.0)),
        "mean": WeightedMean(((0.25, ball(12.0)), (0.75, ball(16.0)))),
        "restricted": Restricted(ball(18.0), grid, 1.0),
        "blended": BlendedField(grid, ball(18.0), weight),
    }


def test_every_distance_satisfies_the_protocol_and_its_box_holds_the_organ(tiny_template_file):
    for name, organ in answers(tiny_template_file).items():
        assert isinstance(organ, SignedDistance), name
        values = organ.sdf_mm(RNG_POINTS)
        assert values.shape == (len(RNG_POINTS),) and values.dtype == np.float64, name
        lower, upper = organ.bounds_ras
        inside = RNG_POINTS[values < 0]
        assert len(inside) and (inside >= lower - 1e-6).all() and (inside <= upper + 1e-6).all(), name


def test_union_and_difference_are_right_on_two_balls():
    first, second = ball(12.0), ball(10.0, 5.0)
    a, b = first.sdf_mm(RNG_POINTS), second.sdf_mm(RNG_POINTS)
    np.testing.assert_array_equal(Union(first, second).sdf_mm(RNG_POINTS) < 0, (a < 0) | (b < 0))
    np.testing.assert_array_equal(Difference(first, second).sdf_mm(RNG_POINTS) < 0, (a < 0) & ~(b < 0))
    lower, upper = Union(first, second).bounds_ras
    np.testing.assert_allclose(lower, CENTRE - 12.0)
    np.testing.assert_allclose(upper, CENTRE + [15.0, 12.0, 12.0])


def test_the_mean_of_two_balls_is_the_ball_of_the_mean_radius():
    mean = WeightedMean(((0.25, ball(12.0)), (0.75, ball(16.0))))
    np.testing.assert_allclose(mean.sdf_mm(RNG_POINTS), ball(15.0).sdf_mm(RNG_POINTS))


@pytest.mark.parametrize(("radius_mm", "found_mm"), [(10.0, 13.0), (14.5, 14.5), (19.0, 17.0)])
def test_a_restricted_ball_stays_within_the_margin(radius_mm, found_mm):
    held = Restricted(ball(radius_mm), ball(15.0), 2.0)
    np.testing.assert_allclose(held.sdf_mm(RNG_POINTS), ball(found_mm).sdf_mm(RNG_POINTS))


def test_a_correction_counts_on_its_grid_and_nowhere_else():
    geometry = ImageGeometry.from_parts((11, 11, 11), (1.0, 1.0, 1.0), CENTRE - 5.0)
    corrected = Corrected(ball(8.0), np.full(geometry.shape_kji, 2.0, dtype=np.float32), geometry)
    at = CENTRE + np.array([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0], [9.0, 0.0, 0.0]])
    np.testing.assert_allclose(corrected.sdf_mm(at), [-6.0, -3.0, 1.0])


def test_the_box_around_boxes_holds_them_all():
    lower, upper = box_around((np.zeros(3), np.ones(3)), (np.array([-1.0, 0.5, 0.5]), np.array([0.5, 3.0, 0.6])))
    assert lower.tolist() == [-1.0, 0.0, 0.0] and upper.tolist() == [1.0, 3.0, 1.0]
