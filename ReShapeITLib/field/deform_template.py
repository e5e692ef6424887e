"""The implicit model of section 3.1: template field Temp, deformation field Deform and the hyper-network H(beta).

Equation names follow the paper: ``F(p, alpha, beta) = Temp(p + dvec) + ddis`` (Eq. 1 and 3) with
``(dvec, ddis) = Deform_{H(beta)}(p, alpha)`` (Eq. 2). All coordinates and distances are in the unit frame.
"""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass

import torch

from .siren import Layers, siren_forward, siren_gradient, siren_initial_layers, siren_jet, siren_values


@dataclass(frozen=True)
class FieldOptions:
    """Size of the model. The defaults are the paper's (4.2.1); :data:`FIELD_PRESETS` names the others.

    Args:
        hidden: width of Temp and Deform.
        depth: fully connected layers of Temp and Deform.
        code_size: length of alpha, beta, t and beta_t.
        hyper_hidden: width of H.
        hyper_depth: fully connected layers of each MLP of H.
        first_omega, hidden_omega: SIREN frequency factors.
        use_alpha: concatenate alpha to the coordinates (Table 4 ablation when off).
        use_beta: make Deform's weights by H(beta); off, all shapes share one Deform (Table 4 ablation).
        use_template: off, there is no Temp and Deform's one output is the distance itself: an auto-decoder as DeepSDF
            (Park et al., CVPR 2019), whose shape under the codes t and beta_t stands in for the template's.
    """

    hidden: int = 256
    depth: int = 5
    code_size: int = 128
    hyper_hidden: int = 256
    hyper_depth: int = 3
    first_omega: float = 30.0
    hidden_omega: float = 30.0
    use_alpha: bool = True
    use_beta: bool = True
    use_template: bool = True

    @property
    def omegas(self) -> tuple[float, float]:
        """Frequency factors as the sweeps in :mod:`siren` take them."""
        return self.first_omega, self.hidden_omega

    def as_dict(self) -> dict:
        """Plain values for a file's metadata."""
        return asdict(self)


# Training points fill the unit ball; beyond this radius a field says nothing, so it is cut off there.
DOMAIN_RADIUS_UNIT = 1.1

FIELD_PRESETS = {
    "paper": FieldOptions(),
    "compact": FieldOptions(hidden=128, code_size=64, hyper_hidden=48, first_omega=15.0),
}


class HyperNetwork(torch.nn.Module):
    """H: one ReLU MLP per layer of Deform, from beta to that layer's weight and bias.

    The last bias of each MLP is a SIREN initialisation and its last weight is small, so at first every shape has
    nearly the same, well-conditioned Deform.
    """

    def __init__(self, sizes: list[int], options: FieldOptions, generator: torch.Generator):
        super().__init__()
        self.shapes = list(zip(sizes[1:], sizes[:-1], strict=True))
        layers = siren_initial_layers(sizes, options.first_omega, options.hidden_omega, generator)
        self.mlps = torch.nn.ModuleList()
        for weight, bias in layers:
            widths = [options.code_size] + [options.hyper_hidden] * (options.hyper_depth - 1)
            modules: list[torch.nn.Module] = []
            for n_in, n_out in itertools.pairwise(widths):
                modules += [_kaiming_linear(n_in, n_out, generator), torch.nn.ReLU()]
            last = torch.nn.Linear(widths[-1], weight.numel() + bias.numel())
            with torch.no_grad():
                spread = float(weight.std()) * 0.1 / options.hyper_hidden**0.5
                last.weight.copy_(torch.randn(last.weight.shape, generator=generator) * spread)
                last.bias.copy_(torch.cat([weight.flatten(), bias]))
            self.mlps.append(torch.nn.Sequential(*modules, last))

    def forward(self, beta: torch.Tensor) -> Layers:
        """Weights (S, out, in) and biases (S, out) of every layer of Deform for S codes (S, code_size)."""
        layers = []
        for mlp, (n_out, n_in) in zip(self.mlps, self.shapes, strict=True):
            flat = mlp(beta)
            layers.append((flat[:, : n_out * n_in].unflatten(1, (n_out, n_in)), flat[:, n_out * n_in :]))
        return layers


class DeformTemplateField(torch.nn.Module):
    """Temp, Deform and H of one organ, with the template's own codes t and beta_t.

    Args:
        options: sizes.
        seed: seed of the initialisation.
    """

    def __init__(self, options: FieldOptions, seed: int = 0):
        super().__init__()
        self.options = options
        generator = torch.Generator().manual_seed(seed)
        hidden = [options.hidden] * (options.depth - 1)
        if options.use_template:
            self.temp = _ParameterLayers(
                siren_initial_layers([3, *hidden, 1], options.first_omega, options.hidden_omega, generator)
            )
        sizes = [3 + (options.code_size if options.use_alpha else 0), *hidden, 4 if options.use_template else 1]
        if options.use_beta:
            self.hyper = HyperNetwork(sizes, options, generator)
        else:
            self.deform = _ParameterLayers(
                siren_initial_layers(sizes, options.first_omega, options.hidden_omega, generator)
            )
        if options.use_template:
            self._shrink_last_deform_layer()
        self.template_alpha = torch.nn.Parameter(torch.randn(options.code_size, generator=generator) * 0.01)
        self.template_beta = torch.nn.Parameter(torch.randn(options.code_size, generator=generator) * 0.01)

    def _shrink_last_deform_layer(self):
        # Deform starts near the identity, so Temp first learns the mean shape instead of a random one.
        with torch.no_grad():
            if self.options.use_beta:
                last = self.hyper.mlps[-1][-1]
                last.weight.mul_(0.1)
                last.bias.mul_(0.1)
            else:
                for tensor in self.deform.layers()[-1]:
                    tensor.mul_(0.1)

    def deform_layers(self, alpha: torch.Tensor, beta: torch.Tensor) -> Layers:
        """Deform_{H(beta)}(., alpha) of S shapes as layers over the three coordinates alone.

        alpha is constant over a shape's points, so its share of the first layer is folded into the bias.

        Args:
            alpha, beta: (S, code_size).
        """
        if self.options.use_beta:
            layers = self.hyper(beta)
        else:
            layers = [(w.expand(len(alpha), -1, -1), b.expand(len(alpha), -1)) for w, b in self.deform.layers()]
        weight, bias = layers[0]
        if self.options.use_alpha:
            bias = bias + torch.bmm(weight[..., 3:], alpha.unsqueeze(-1)).squeeze(-1)
        return [(weight[..., :3], bias), *layers[1:]]

    def template_deform_layers(self) -> Layers:
        """Deform under the template's own codes, which should do nothing (section 3.2)."""
        return self.deform_layers(self.template_alpha[None], self.template_beta[None])

    def template_values(self, points: torch.Tensor) -> torch.Tensor:
        """Temp at (..., 3) points: (...,) signed distance in unit lengths."""
        if not self.options.use_template:
            layers = [(weight[0], bias[0]) for weight, bias in self.template_deform_layers()]
            return siren_values(layers, points, self.options.omegas).squeeze(-1)
        return siren_values(self.temp.layers(), points, self.options.omegas).squeeze(-1)

    def template_distance(self, points: torch.Tensor) -> torch.Tensor:
        """Temp at (..., 3) points within the domain, the distance to the domain outside it: for extraction."""
        return _within_domain(self.template_values(points), points)

    def distance(self, deform: Layers, points: torch.Tensor) -> torch.Tensor:
        """F at (S, N, 3) points within the domain, the distance to the domain outside it: for extraction."""
        return _within_domain(self.values(deform, points), points)

    def values(self, deform: Layers, points: torch.Tensor) -> torch.Tensor:
        """F at (S, N, 3) points: (S, N) signed distance in unit lengths (Eq. 3)."""
        moved = siren_values(deform, points, self.options.omegas)
        if not self.options.use_template:
            return moved.squeeze(-1)
        return self.template_values(points + moved[..., :3]) + moved[..., 3]

    def template_coordinates(self, deform: Layers, points: torch.Tensor) -> torch.Tensor:
        """p + dvec for (S, N, 3) points: where each lies in the template, the dense correspondence.

        Without a template there is none, and the points come back as they are.
        """
        if not self.options.use_template:
            return points
        return points + siren_values(deform, points, self.options.omegas)[..., :3]

    def evaluate(self, deform: Layers, points: torch.Tensor, with_laplacian: bool = False) -> FieldValues:
        """F with its first derivatives at (S, N, 3) points, and the Laplacian of dvec if asked for; differentiable by
        one plain backward."""
        omegas = self.options.omegas
        if not self.options.use_template:
            moved, deform_slopes = siren_forward(deform, points, omegas)
            gradient = siren_gradient(deform, deform_slopes, torch.ones_like(moved))
            still = torch.zeros_like(points)
            return FieldValues(moved.squeeze(-1), gradient, gradient, still, still[..., 0])
        temp, laplacian = self.temp.layers(), None
        if with_laplacian:  # the propagation that gives it gives the Jacobian as well
            moved, jacobian, laplacian = siren_jet(deform, points, omegas)
        else:
            moved, deform_slopes = siren_forward(deform, points, omegas)
        warped = points + moved[..., :3]
        template_sdf, temp_slopes = siren_forward(temp, warped, omegas)
        template_gradient = siren_gradient(temp, temp_slopes, torch.ones_like(template_sdf))
        cotangent = torch.cat([template_gradient, torch.ones_like(template_sdf)], dim=-1)
        if with_laplacian:
            through_deform = (jacobian * cotangent.unsqueeze(-3)).sum(-1).transpose(-1, -2)
            laplacian = laplacian[..., :3]
        else:
            through_deform = siren_gradient(deform, deform_slopes, cotangent)
        sdf, gradient = (template_sdf + moved[..., 3:]).squeeze(-1), template_gradient + through_deform
        return FieldValues(sdf, gradient, template_gradient, moved[..., :3], moved[..., 3], laplacian)


@dataclass(frozen=True)
class FieldValues:
    """What :meth:`DeformTemplateField.evaluate` returns for S x N points, in the unit frame.

    Args:
        sdf: (S, N) F(p).
        gradient: (S, N, 3) gradient of F.
        template_gradient: (S, N, 3) gradient of Temp at p + dvec; that of F where there is no Temp.
        dvec: (S, N, 3) offset into the template.
        ddis: (S, N) scalar displacement.
        dvec_laplacian: (S, N, 3) Laplacian of dvec, where it was asked for.
    """

    sdf: torch.Tensor
    gradient: torch.Tensor
    template_gradient: torch.Tensor
    dvec: torch.Tensor
    ddis: torch.Tensor
    dvec_laplacian: torch.Tensor | None = None


class _ParameterLayers(torch.nn.Module):
    """A SIREN's layers as parameters of a module."""

    def __init__(self, layers: Layers):
        super().__init__()
        self.weights = torch.nn.ParameterList([w for w, _ in layers])
        self.biases = torch.nn.ParameterList([b for _, b in layers])

    def layers(self) -> Layers:
        return list(zip(self.weights, self.biases, strict=True))


def _within_domain(sdf: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    return torch.maximum(sdf, points.norm(dim=-1) - DOMAIN_RADIUS_UNIT)


def _kaiming_linear(n_in: int, n_out: int, generator: torch.Generator) -> torch.nn.Linear:
    linear = torch.nn.Linear(n_in, n_out)
    with torch.no_grad():
        linear.weight.copy_(torch.randn(n_out, n_in, generator=generator) * (2.0 / n_in) ** 0.5)
        linear.bias.zero_()
    return linear
