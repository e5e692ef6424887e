"""SIREN layers as plain functions, with derivatives written out instead of nested autograd.

A SIREN is a list of ``(weight, bias)`` pairs; a weight is (out, in), or (S, out, in) for S shapes at once. Hidden
layers compute ``sin(omega * (W x + b))`` (Sitzmann et al. 2020), the last one is linear.

First derivatives come from one hand-written reverse sweep over the cosines that the forward sweep left, second
derivatives from propagating value, three tangents and Laplacian forward. Both are ordinary operations, so one plain
``backward`` trains through them: no graph of a graph, several times cheaper, and exact.
"""

from __future__ import annotations

import itertools
import math

import torch

Layers = list[tuple[torch.Tensor, torch.Tensor]]


class _SineCosine(torch.autograd.Function):
    """sin(x) and cos(x) whose backward reuses both instead of computing them again."""

    @staticmethod
    def forward(ctx, x):
        sine, cosine = torch.sin(x), torch.cos(x)
        ctx.save_for_backward(sine, cosine)
        return sine, cosine

    @staticmethod
    def backward(ctx, grad_sine, grad_cosine):
        sine, cosine = ctx.saved_tensors
        return torch.addcmul(grad_sine * cosine, grad_cosine, sine, value=-1)


class _JetActivation(torch.autograd.Function):
    """The sine of a hidden layer on all five streams at once, with its backward written out: few passes over memory."""

    @staticmethod
    def forward(ctx, pre, bias, n):
        """(..., 5 n, hidden) value, three tangents and Laplacian behind sin; ``bias`` (..., hidden) joins the value."""
        value, tangents, laplacian = _streams(pre, n)
        value = value + bias.unsqueeze(-2)
        sine, cosine, squares = torch.sin(value), torch.cos(value), tangents.square().sum(-3)
        moved = torch.empty_like(pre)
        new_value, new_tangents, new_laplacian = _streams(moved, n)
        new_value.copy_(sine)
        torch.mul(tangents, cosine.unsqueeze(-3), out=new_tangents)
        torch.mul(cosine, laplacian, out=new_laplacian)
        new_laplacian.addcmul_(sine, squares, value=-1)
        ctx.save_for_backward(pre, sine, cosine, squares)
        return moved

    @staticmethod
    def backward(ctx, grad):
        pre, sine, cosine, squares = ctx.saved_tensors
        n = sine.shape[-2]
        _, tangents, laplacian = _streams(pre, n)
        grad_value, grad_tangents, grad_laplacian = _streams(grad, n)
        back = torch.empty_like(pre)
        value_back, tangents_back, laplacian_back = _streams(back, n)
        torch.mul(grad_laplacian, cosine, out=laplacian_back)
        torch.mul(grad_tangents, cosine.unsqueeze(-3), out=tangents_back)
        bent = sine * grad_laplacian
        tangents_back.addcmul_(tangents, bent.unsqueeze(-3), value=-2)
        torch.mul(grad_value, cosine, out=value_back)
        value_back.addcmul_(sine, (grad_tangents * tangents).sum(-3), value=-1)
        value_back.addcmul_(bent, laplacian, value=-1).addcmul_(laplacian_back, squares, value=-1)
        return back, value_back.sum(-2), None


def _streams(stacked, n):
    """Value (..., n, h), tangents (..., 3, n, h) and Laplacian (..., n, h) of (..., 5 n, h), as views."""
    tangents = stacked[..., n : 4 * n, :].unflatten(-2, (3, n))
    return stacked[..., :n, :], tangents, stacked[..., 4 * n :, :]


def siren_initial_layers(
    sizes: list[int], first_omega: float, hidden_omega: float, generator, n_coordinates: int = 3
) -> Layers:
    """Layers initialised so that activations keep their distribution (Sitzmann et al. 2020, section 3.2).

    The omegas are multiplied into the arguments by the sweeps below, so hidden weights are drawn ``1 / omega`` small.
    The first ``n_coordinates`` inputs are coordinates, whose weights set the frequencies; what follows is a code. One
    of 64 entries must not make the coordinates' weights 22 times smaller: the field would be nearly linear in them.
    """
    layers = []
    for index, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
        bound = 1.0 / n_in if index == 0 else math.sqrt(6.0 / n_in) / hidden_omega
        weight = (torch.rand(n_out, n_in, generator=generator) * 2 - 1) * bound
        if index == 0:
            weight[:, :n_coordinates] *= n_in / n_coordinates
        bias = (torch.rand(n_out, generator=generator) * 2 - 1) / math.sqrt(n_in)
        if index > 0:
            bias = bias / hidden_omega
        layers.append((weight, bias))
    return layers


def _linear(x, weight, bias):
    if weight.dim() == 2:
        return torch.nn.functional.linear(x, weight, bias)
    return torch.baddbmm(bias.unsqueeze(-2), x, weight.transpose(-1, -2))


def siren_forward(layers: Layers, points: torch.Tensor, omegas: tuple[float, float]):
    """Values of the field and the cosines that :func:`siren_gradient` needs.

    Args:
        layers: the field.
        points: (N, in) or (S, N, in).
        omegas: frequency factor of the first and of the other hidden layers.

    Returns:
        values (..., N, out) and a list of (..., N, hidden) tensors ``omega * cos(omega * (W x + b))``.
    """
    slopes = []
    x = points
    for index, (weight, bias) in enumerate(layers[:-1]):
        omega = omegas[min(index, 1)]
        x, cosine = _SineCosine.apply(_linear(x, omega * weight, omega * bias))
        slopes.append((omega, cosine))
    return _linear(x, *layers[-1]), slopes


def siren_values(layers: Layers, points: torch.Tensor, omegas: tuple[float, float]) -> torch.Tensor:
    """Values alone; under ``torch.no_grad`` the cheapest way to ask the field."""
    x = points
    for index, (weight, bias) in enumerate(layers[:-1]):
        omega = omegas[min(index, 1)]
        x = torch.sin(_linear(x, omega * weight, omega * bias))
    return _linear(x, *layers[-1])


def siren_gradient(layers: Layers, slopes, cotangent: torch.Tensor) -> torch.Tensor:
    """Gradient of ``<cotangent, field>`` with respect to the points: one reverse sweep.

    Args:
        layers: the field.
        slopes: what :func:`siren_forward` returned for the points.
        cotangent: (..., N, out).

    Returns:
        (..., N, in) gradient.
    """
    gradient = torch.matmul(cotangent, layers[-1][0])
    for (weight, _), (omega, cosine) in zip(reversed(layers[:-1]), reversed(slopes), strict=True):
        gradient = torch.matmul(gradient * cosine, omega * weight)
    return gradient


def siren_jet(layers: Layers, points: torch.Tensor, omegas: tuple[float, float]):
    """Value, Jacobian and Laplacian by forward propagation.

    With ``u = W x + b`` per layer: ``d sin(w u) = w cos(w u) du`` and
    ``lap sin(w u) = w cos(w u) lap u - w^2 sin(w u) |grad u|^2``.

    Args:
        layers: a field over three coordinates.
        points: (N, 3) or (S, N, 3).
        omegas: frequency factor of the first and of the other hidden layers.

    Returns:
        values (..., N, out), Jacobian (..., 3, N, out) with the derivative by coordinate d in ``[..., d, :, :]``,
        and Laplacian (..., N, out).
    """
    n = points.shape[-2]
    omega, (weight, bias) = omegas[0], layers[0]
    sine, cosine = _SineCosine.apply(_linear(points, omega * weight, omega * bias))
    # The tangents of the input are the unit vectors, so those of the first layer are its columns.
    tangents = (omega * weight).transpose(-1, -2).unsqueeze(-2)
    moved = (cosine.unsqueeze(-3) * tangents).flatten(-3, -2)
    streams = torch.cat([sine, moved, -sine * tangents.square().sum(-3)], dim=-2)
    for weight, bias in layers[1:-1]:
        pre = torch.matmul(streams, (omegas[1] * weight).transpose(-1, -2))
        streams = _JetActivation.apply(pre, omegas[1] * bias, n)
    weight, bias = layers[-1]
    value, jacobian, laplacian = _streams(torch.matmul(streams, weight.transpose(-1, -2)), n)
    return value + bias.unsqueeze(-2), jacobian, laplacian
