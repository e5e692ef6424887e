"""Pose and trust of a completion: contours are found, a displaced alignment is put right, contours outvote the rest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from ReShapeITLib.core.geometry import ImageGeometry, Similarity
from ReShapeITLib.distance.between_slices import SparseAnnotation
from ReShapeITLib.distance.combinators import BlendedField, FunctionDistance
from ReShapeITLib.distance.surface import DistanceGrid, surface_from_grid
from ReShapeITLib.interaction.candidates import Candidates
from ReShapeITLib.interaction.fitting import fit_field
from ReShapeITLib.interaction.options import FitOptions
from ReShapeITLib.interaction.pose import Pose
from ReShapeITLib.refinement.completion import (
    NETWORK_ERROR_PER_GAP,
    contour_points,
    in_shape_space,
    likeliest_between,
    share_of_shapes,
    trusting_contours,
)
from ReShapeITLib.refinement.healing import Healed
from ReShapeITLib.restoration.model import Restoration
from Testing.oracles import MM_PER_UNIT, RADII, ellipsoid_sdf, ellipsoid_surface, tiny_template
from Testing.tiny_template import ellipsoid_mask

UNIT = Similarity(1.0 / MM_PER_UNIT, np.eye(3), np.zeros(3))
RADII_MM = np.array([30.0, 22.0, 25.0])
GEOMETRY = ImageGeometry.from_parts((81, 61, 71), (1.0, 1.0, 1.0), (-40.0, -30.0, -35.0))


@pytest.fixture(scope="module")
def template():
    return tiny_template()


@pytest.fixture(scope="module")
def annotation():
    mask = ellipsoid_mask(GEOMETRY, np.zeros(3), RADII_MM)
    mask[np.setdiff1d(np.arange(len(mask)), [15, 35, 55])] = False
    return SparseAnnotation.of(mask, GEOMETRY)


def with_pose(parameters) -> Pose:
    pose = Pose(torch.device("cpu"))
    with torch.no_grad():
        pose.parameters.copy_(torch.tensor(parameters))
    return pose


IDENTITY = Similarity.identity()


def candidates_of(radii, moved=IDENTITY, n=1500):
    """Points on and around an ellipsoid that an alignment has put elsewhere, unit frame."""
    rng = np.random.default_rng(3)
    points, normals = ellipsoid_surface(radii, n, rng)
    free = points + rng.normal(size=points.shape) * 0.08
    sdf = ellipsoid_sdf(free, radii) * moved.scale
    return Candidates(
        moved.apply(points), moved.apply_to_vectors(normals), np.ones(n), moved.apply(free), sdf, np.ones(n)
    )


# ----------------------------------------------------------------------------------------------------------- pose


def test_a_pose_is_at_first_the_identity():
    points, distances, normals = torch.rand(5, 3), torch.rand(5), torch.rand(2, 3)
    moved = Pose(torch.device("cpu")).move(points, distances, normals)
    assert all(torch.equal(a, b) for a, b in zip(moved, (points, distances, normals), strict=True))


def test_a_pose_turns_scales_and_shifts_as_the_similarity_does():
    vector = np.array([0.2, -0.1, 0.3])
    pose = with_pose([0.1, *vector, 0.05, 0.0, -0.02])
    same = Similarity(np.exp(0.1), Rotation.from_rotvec(vector).as_matrix(), np.array([0.05, 0.0, -0.02]))
    points = np.random.default_rng(0).normal(size=(6, 3))
    moved, distances, normals = pose.move(*(torch.tensor(a).float() for a in (points, points[:, 0], points)))
    np.testing.assert_allclose(moved.detach(), same.apply(points), atol=1e-6)
    np.testing.assert_allclose(distances.detach(), points[:, 0] * np.exp(0.1), atol=1e-6)
    np.testing.assert_allclose(normals.detach(), same.apply_to_vectors(points), atol=1e-6)
    first = Similarity(0.02, Rotation.from_rotvec([0.0, 0.4, 0.0]).as_matrix(), np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(pose.after(first).apply(points), same.apply(first.apply(points)), atol=1e-5)


@pytest.mark.parametrize("weight_steps", [0, 30])
def test_a_fitted_pose_puts_a_displaced_alignment_right(template, weight_steps):
    wrong = Similarity(1.08, Rotation.from_rotvec([0.0, 0.0, 0.15]).as_matrix(), np.array([0.06, -0.04, 0.03]))
    candidates = candidates_of(RADII[1], wrong)
    points_mm = ellipsoid_surface(RADII[1], 1000, np.random.default_rng(9))[0] * MM_PER_UNIT
    options = FitOptions(code_steps=80, weight_steps=weight_steps, surface_points=200, free_points=100)
    errors = {}
    for rate in (0.0, 5e-3):
        fitted = fit_field(template, candidates, wrong.after(UNIT), replace(options, pose_learning_rate=rate))
        errors[rate] = np.abs(fitted.sdf_mm(points_mm)).mean()
    assert errors[5e-3] < 0.6 * errors[0.0]


def test_without_a_rate_the_alignment_stays(template):
    fitted = fit_field(template, candidates_of(RADII[1]), UNIT, FitOptions(code_steps=5, weight_steps=0))
    np.testing.assert_array_equal(fitted.ras_to_unit.apply(np.eye(3)), UNIT.apply(np.eye(3)))


# ------------------------------------------------------------------------------------------------------- contours


def test_contour_points_lie_on_the_contours_of_every_drawn_slice(annotation):
    points = contour_points(annotation)
    assert sorted(set(np.round(points[:, 2], 6))) == [-20.0, 0.0, 20.0]
    off = np.linalg.norm(points / RADII_MM, axis=1) - 1.0
    assert np.abs(off).max() * RADII_MM.min() < 1.0


def test_an_organ_of_two_parts_has_contours_around_both():
    mask = np.zeros(GEOMETRY.shape_kji, dtype=bool)
    for k in (20, 50):
        mask[k, 10:20, 10:20] = mask[k, 40:50, 60:70] = True
    points = contour_points(SparseAnnotation.of(mask, GEOMETRY))
    assert {bool(x > 0) for x in points[:, 0]} == {True, False}


def test_contours_count_in_full_and_all_else_little(annotation):
    candidates = candidates_of(RADII[0])
    trusting = trusting_contours(candidates, annotation, UNIT, np.random.default_rng(0))
    n = (trusting.weights == 1.0).sum()
    contours = UNIT.apply(contour_points(annotation))
    assert n == min(len(contours), 4000) and set(map(tuple, trusting.points[:n])) <= set(map(tuple, contours))
    assert trusting.weights[n:].max() < 0.5 and trusting.free_weights.max() < 0.5
    assert len(trusting.points) == len(trusting.normals) == len(trusting.weights)


def test_shapes_count_the_less_the_more_they_miss_the_contours_and_the_more_the_wider_the_gap():
    assert share_of_shapes(0.0, 20.0) == 1.0
    assert share_of_shapes(20.0 / 12.0, 20.0) == pytest.approx(0.5)
    assert share_of_shapes(1.0, 20.0) > share_of_shapes(3.0, 20.0) < share_of_shapes(3.0, 40.0)


def half_doubted_ball() -> Healed:
    """A ball of 16 mm of which the half below 0 was not seen; the network put a ball of 18 mm there."""
    grid = ImageGeometry.from_parts((25, 25, 25), (2.0, 2.0, 2.0), (-24.0, -24.0, -24.0))
    points = grid.ijk_to_ras_points(np.indices((25, 25, 25)).reshape(3, -1)[::-1].T)
    distance = np.linalg.norm(points, axis=1).reshape(25, 25, 25).astype(np.float32)
    doubted = DistanceGrid((points[:, 2] < 0).reshape(25, 25, 25).astype(np.float32), grid)
    restoration = Restoration(
        DistanceGrid(distance - 18.0, grid), DistanceGrid(distance - 16.0, grid), 2.0, 0.0 * distance
    )
    field = BlendedField(restoration.given, restoration.restored, doubted)
    return Healed(field, surface_from_grid(restoration.given), restoration)


def distance(function) -> FunctionDistance:
    """A function of points as a signed distance."""
    return FunctionDistance(function, (np.full(3, -30.0), np.full(3, 30.0)))


CLOSELY_FITTED = distance(lambda points_ras: np.linalg.norm(points_ras, axis=1) - 18.5)  # a ball


@pytest.mark.parametrize("with_network", [False, True])
def test_between_slices_shapes_count_less_beside_a_network_than_beside_the_interpolation(annotation, with_network):
    healed = half_doubted_ball() if with_network else None
    beside = healed.restoration.restored.sdf_mm if healed else annotation.distance.sdf_mm

    def shape(points_ras):  # a millimetre outside of what stands beside it, and within a cell of the network's answer
        return beside(points_ras) - 1.0

    misfit_mm = np.abs(shape(contour_points(annotation))).mean()
    share = share_of_shapes(misfit_mm, 20.0, *([NETWORK_ERROR_PER_GAP] if with_network else []))
    assert share_of_shapes(misfit_mm, 20.0, NETWORK_ERROR_PER_GAP) < share_of_shapes(misfit_mm, 20.0)
    at = np.array([[0.0, 0.0, -10.0], [5.0, 8.0, 10.0]])
    likeliest = likeliest_between([distance(shape)] * 2, annotation, healed)
    np.testing.assert_allclose(beside(at) - likeliest.sdf_mm(at), share, atol=1e-5)


def test_a_field_is_held_to_within_a_cell_of_the_networks_answer():
    restoration, at = half_doubted_ball().restoration, np.array([[0.0, 0.0, -16.0]])  # 2 mm inside the network's ball
    for organ, expected in ((CLOSELY_FITTED, -2.5), (distance(lambda points: np.full(len(points), 5.0)), 0.0)):
        np.testing.assert_allclose(restoration.limited(organ).sdf_mm(at), expected, atol=0.05)


def test_the_gap_is_the_widest_way_between_drawn_slices(annotation):
    assert annotation.gap_mm == pytest.approx(20.0)
    mask = ellipsoid_mask(GEOMETRY, np.zeros(3), RADII_MM)
    mask[np.setdiff1d(np.arange(len(mask)), [15, 25, 55])] = False
    assert SparseAnnotation.of(mask, GEOMETRY).gap_mm == pytest.approx(30.0)


def test_a_fit_in_shape_space_has_no_weights_of_its_own_but_a_pose():
    options = in_shape_space(FitOptions(code_steps=60))
    assert options.weight_steps == 0 and options.pose_learning_rate > 0 and options.code_steps == 60
