"""SIREN layers as plain functions, with derivatives written out instead of nested autograd.

A SIREN is a list of ``(weight, bias)`` pairs; a weight is (out, in), or (S, out, in) for S shapes at once. Hidden
layers compute ``sin(omega * (W x + b))`` (Sitzmann et al. 2020), the last one is linear.

First derivatives come from one hand-written reverse sweep over the cosines that the forward sweep left, second
derivatives from propagating value, three tangents and Laplacian forward. Both are ordinary operations, so one plain
``backward`` trains through them: no graph of a graph, several times cheaper, and exact.
"""

from __future__ import annotations

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


def siren_initial_layers(sizes: list[int], first_omega: float, hidden_omega: float, generator) -> Layers:
    """Layers initialised so that activations keep their distribution (Sitzmann et al. 2020, section 3.2).

    The omegas are multiplied into the arguments by the sweeps below, so hidden weights are drawn ``1 / omega`` small.
    """
    layers = []
    for index, (n_in, n_out) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        bound = 1.0 / n_in if index == 0 else math.sqrt(6.0 / n_in) / hidden_omega
        weight = (torch.rand(n_out, n_in, generator=generator) * 2 - 1) * bound
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
    streams = None
    for index, (weight, bias) in enumerate(layers[:-1]):
        omega = omegas[min(index, 1)]
        scaled = omega * weight
        if streams is None:
            value = _linear(points, scaled, omega * bias)
            # The tangents of the input are the unit vectors, so those of the first layer are its columns.
            tangents = scaled.transpose(-1, -2).unsqueeze(-2)
            laplacian = None
        else:
            pre = torch.matmul(streams, scaled.transpose(-1, -2))
            value = pre[..., :n, :] + (omega * bias).unsqueeze(-2)
            tangents = pre[..., n : 4 * n, :].unflatten(-2, (3, n))
            laplacian = pre[..., 4 * n :, :]
        sine, cosine = _SineCosine.apply(value)
        curvature = -sine * tangents.square().sum(-3)
        if laplacian is not None:
            curvature = torch.addcmul(curvature, cosine, laplacian)
        moved = (cosine.unsqueeze(-3) * tangents).flatten(-3, -2)
        streams = torch.cat([sine, moved, curvature], dim=-2)
    weight, bias = layers[-1]
    out = torch.matmul(streams, weight.transpose(-1, -2))
    return out[..., :n, :] + bias.unsqueeze(-2), out[..., n : 4 * n, :].unflatten(-2, (3, n)), out[..., 4 * n :, :]
