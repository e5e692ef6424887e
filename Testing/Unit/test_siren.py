"""The SIREN sweeps against nested autograd: values, derivatives, and what a loss made of them trains."""

from __future__ import annotations

import math

import pytest
import torch

from ReShapeITLib.field.siren import siren_forward, siren_gradient, siren_initial_layers, siren_jet, siren_values
from Testing.oracles import nested_gradient, nested_jacobian, nested_laplacian, plain_siren, relative_error

OMEGAS = (30.0, 20.0)
SIZES = [3, 48, 48, 48, 4]


def shared_layers():
    generator = torch.Generator().manual_seed(3)
    return [(w.requires_grad_(), b.requires_grad_()) for w, b in siren_initial_layers(SIZES, *OMEGAS, generator)]


def layers_per_shape(n_shapes=3):
    generator = torch.Generator().manual_seed(4)
    each = [siren_initial_layers(SIZES, *OMEGAS, generator) for _ in range(n_shapes)]
    stacked = [tuple(torch.stack(tensors) for tensors in zip(*layer, strict=True)) for layer in zip(*each, strict=True)]
    return [(w.requires_grad_(), b.requires_grad_()) for w, b in stacked]


def random_points(*shape):
    return torch.rand(*shape, 3, generator=torch.Generator().manual_seed(5)) * 2 - 1


CASES = {
    "shared weights": lambda: (shared_layers(), random_points(40)),
    "weights per shape": lambda: (layers_per_shape(), random_points(3, 40)),
}
both_layouts = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def parameter_gradients(loss, layers):
    # The last bias has no share in derivatives: its gradient is zero.
    found = torch.autograd.grad(loss, [t for layer in layers for t in layer], materialize_grads=True)
    return torch.cat([g.flatten() for g in found])


@both_layouts
def test_the_jet_agrees_with_nested_autograd(case):
    layers, points = case()
    values, jacobian, laplacian = siren_jet(layers, points, OMEGAS)
    points = points.clone().requires_grad_()
    expected = plain_siren(layers, points, OMEGAS)
    assert relative_error(values, expected) < 1e-5
    assert relative_error(jacobian, nested_jacobian(expected, points)) < 1e-5
    assert relative_error(laplacian, nested_laplacian(expected, points)) < 1e-5


@both_layouts
def test_a_loss_of_the_jet_has_the_parameter_gradients_of_nested_autograd(case):
    layers, points = case()
    jacobian, laplacian = siren_jet(layers, points, OMEGAS)[1:]
    ours = parameter_gradients(laplacian.square().sum(-1).sqrt().mean() + jacobian.square().mean(), layers)
    points = points.clone().requires_grad_()
    values = plain_siren(layers, points, OMEGAS)
    jacobian, laplacian = nested_jacobian(values, points), nested_laplacian(values, points)
    expected = parameter_gradients(laplacian.square().sum(-1).sqrt().mean() + jacobian.square().mean(), layers)
    assert relative_error(ours, expected) < 1e-5


@both_layouts
def test_the_reverse_sweep_agrees_with_nested_autograd(case):
    layers, points = case()
    values, slopes = siren_forward(layers, points, OMEGAS)
    weighting = torch.linspace(-1, 2, 4)
    ours = siren_gradient(layers, slopes, weighting.expand_as(values))
    points = points.clone().requires_grad_()
    expected_values = plain_siren(layers, points, OMEGAS)
    expected = nested_gradient(expected_values @ weighting, points)
    assert relative_error(values, expected_values) < 1e-5
    assert relative_error(ours, expected) < 1e-5


@both_layouts
def test_a_loss_of_the_reverse_sweep_has_the_parameter_gradients_of_nested_autograd(case):
    layers, points = case()
    values, slopes = siren_forward(layers, points, OMEGAS)
    gradient = siren_gradient(layers, slopes, torch.ones_like(values))
    ours = parameter_gradients((gradient.norm(dim=-1) - 1).abs().mean(), layers)
    points = points.clone().requires_grad_()
    gradient = nested_gradient(plain_siren(layers, points, OMEGAS), points)
    expected = parameter_gradients((gradient.norm(dim=-1) - 1).abs().mean(), layers)
    assert relative_error(ours, expected) < 1e-5


def test_the_gradient_is_differentiable_by_a_cotangent_that_depends_on_parameters():
    layers, points = shared_layers(), random_points(20)
    values, slopes = siren_forward(layers, points, OMEGAS)
    ours = parameter_gradients(siren_gradient(layers, slopes, values).square().mean(), layers)
    points = points.clone().requires_grad_()
    values = plain_siren(layers, points, OMEGAS)
    expected = parameter_gradients(nested_gradient(0.5 * values.square(), points).square().mean(), layers)
    assert relative_error(ours, expected) < 1e-5


@both_layouts
def test_values_alone_are_those_of_the_sweep_with_derivatives(case):
    layers, points = case()
    with torch.no_grad():
        assert torch.equal(siren_values(layers, points, OMEGAS), siren_forward(layers, points, OMEGAS)[0])


def test_the_laplacian_of_a_single_sine_is_the_textbook_one():
    weight = torch.tensor([[0.3, -0.2, 0.1]], dtype=torch.float64)
    layers = [(weight, torch.tensor([0.05], dtype=torch.float64)), (torch.ones(1, 1).double(), torch.zeros(1).double())]
    points = random_points(10).double()
    values, jacobian, laplacian = siren_jet(layers, points, (7.0, 1.0))
    argument = 7.0 * (points @ weight[0] + 0.05)
    assert torch.allclose(values[:, 0], torch.sin(argument))
    assert torch.allclose(jacobian[:, :, 0].T, 7.0 * torch.cos(argument)[:, None] * weight)
    assert torch.allclose(laplacian[:, 0], -49.0 * (0.09 + 0.04 + 0.01) * torch.sin(argument))


def activations(layers, points, omegas):
    x, found = points, []
    for index, (weight, bias) in enumerate(layers[:-1]):
        x = torch.sin((omegas[0] if index == 0 else omegas[1]) * (x @ weight.T + bias))
        found.append(x)
    return found


@pytest.mark.parametrize("hidden_omega", [10.0, 30.0])
def test_initialisation_keeps_the_distribution_of_activations_through_eight_layers(hidden_omega):
    generator = torch.Generator().manual_seed(0)
    layers = siren_initial_layers([3] + [256] * 8 + [1], 30.0, hidden_omega, generator)
    points = torch.rand(1000, 3, generator=generator) * 2 - 1
    deviations = [float(a.std()) for a in activations(layers, points, (30.0, hidden_omega))]
    means = [float(a.mean()) for a in activations(layers, points, (30.0, hidden_omega))]
    # The sine of a normal with deviation 1 has deviation sqrt((1 - exp(-2)) / 2) = 0.658, an arcsine law 0.707.
    assert all(0.6 < d < 0.72 for d in deviations)
    assert max(deviations[1:]) - min(deviations[1:]) < 0.05
    assert max(abs(m) for m in means) < 0.02


def test_initial_weights_stay_within_the_published_bounds():
    layers = siren_initial_layers([3, 200, 200, 1], 30.0, 25.0, torch.Generator().manual_seed(1))
    bounds = [1 / 3, math.sqrt(6 / 200) / 25, math.sqrt(6 / 200) / 25]
    for (weight, _), bound in zip(layers, bounds, strict=True):
        assert 0.95 * bound < float(weight.abs().max()) <= bound
