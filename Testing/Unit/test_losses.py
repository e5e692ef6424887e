"""Every loss term on numbers computed by hand."""

from __future__ import annotations

import math

import pytest
import torch

from ReShapeITLib.field import losses
from ReShapeITLib.field.losses import LossWeights


def test_the_default_weights_are_those_of_the_paper():
    weights = LossWeights()
    assert (weights.sdf, weights.normal, weights.eikonal, weights.off_surface) == (3e3, 1e2, 5e1, 5e2)
    assert (weights.vec, weights.dis, weights.alpha, weights.beta) == (5.0, 1e2, 1e5, 1e6)
    assert (weights.template_normal, weights.template_shape) == (1.0, 1.0)


def test_the_distance_loss_is_the_mean_absolute_difference():
    predicted, target = torch.tensor([[0.1, -0.2], [0.0, 0.3]]), torch.tensor([[0.0, -0.3], [0.2, 0.3]])
    assert float(losses.sdf_loss(predicted, target)) == pytest.approx((0.1 + 0.1 + 0.2 + 0.0) / 4)


def test_the_distance_loss_clamps_both_sides_at_half_a_unit():
    predicted, target = torch.tensor([0.9, -2.0, 0.4]), torch.tensor([0.7, 0.6, 0.8])
    assert float(losses.sdf_loss(predicted, target)) == pytest.approx((0.0 + 1.0 + 0.1) / 3)


def test_a_far_point_on_the_right_side_has_no_gradient():
    predicted = torch.tensor([0.8, 0.2], requires_grad=True)
    losses.sdf_loss(predicted, torch.tensor([0.6, 0.1])).backward()
    assert predicted.grad.tolist() == [0.0, 0.5]


def test_the_normal_loss_is_one_minus_the_cosine_whatever_the_length():
    gradient = torch.tensor([[2.0, 0.0, 0.0], [0.0, 3.0, 0.0], [1.0, 1.0, 0.0]])
    normals = torch.tensor([[1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [1.0, 0.0, 0.0]])
    assert float(losses.normal_loss(gradient, normals)) == pytest.approx((0 + 2 + 1 - math.sqrt(0.5)) / 3)


def test_the_template_normal_loss_compares_the_gradient_of_temp_with_the_normals():
    gradient, normals = torch.tensor([[0.0, 5.0, 0.0], [4.0, 0.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]] * 2)
    assert float(losses.template_normal_loss(gradient, normals)) == pytest.approx(0.5)


def test_the_eikonal_loss_is_the_distance_of_the_slope_from_one():
    gradient = torch.tensor([[3.0, 4.0, 0.0], [0.0, 0.0, 0.5], [0.0, 1.0, 0.0]])
    assert float(losses.eikonal_loss(gradient)) == pytest.approx((4.0 + 0.5 + 0.0) / 3)


def test_the_eikonal_loss_has_a_finite_gradient_where_the_slope_vanishes():
    gradient = torch.zeros(2, 3, requires_grad=True)
    losses.eikonal_loss(gradient).backward()
    assert torch.isfinite(gradient.grad).all()


def test_the_off_surface_loss_is_one_on_the_surface_and_falls_by_e_in_a_hundredth():
    assert float(losses.off_surface_loss(torch.tensor([0.0, 0.01, -0.01]))) == pytest.approx((1 + 2 / math.e) / 3)
    assert float(losses.off_surface_loss(torch.tensor([1.0, -1.0]))) == pytest.approx(0.0, abs=1e-12)


def test_the_smoothness_loss_is_the_mean_length_of_the_laplacian_of_the_offset():
    laplacian = torch.tensor([[1.0, 2.0, 2.0], [0.0, -4.0, 3.0]])
    assert float(losses.smoothness_loss(laplacian)) == pytest.approx((3.0 + 5.0) / 2)


def test_the_smoothness_loss_has_a_finite_gradient_where_the_laplacian_vanishes():
    laplacian = torch.zeros(2, 3, requires_grad=True)
    losses.smoothness_loss(laplacian).backward()
    assert torch.isfinite(laplacian.grad).all()


def test_the_displacement_loss_is_the_mean_absolute_displacement():
    assert float(losses.displacement_loss(torch.tensor([[0.5, -0.1], [0.0, 0.2]]))) == pytest.approx(0.2)


def test_the_template_shape_loss_adds_the_components_and_averages_the_points():
    deformation = torch.tensor([[[0.1, -0.2, 0.3, 0.4], [0.0, 0.0, 0.0, -0.2]]])
    assert float(losses.template_shape_loss(deformation)) == pytest.approx((1.0 + 0.2) / 2)


def test_the_code_loss_is_the_mean_squared_entry():
    assert float(losses.code_loss(torch.tensor([[1.0, -2.0], [0.0, 3.0]]))) == pytest.approx(14 / 4)
