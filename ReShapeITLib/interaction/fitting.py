"""Fitting the field to a new patient with Temp frozen: Eq. 8.

First alpha and beta are fitted through H, then the weights theta = H(beta) of this one patient's Deform themselves:
the same function space as fine-tuning H, with a hundredth of the parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from ..core.geometry import Similarity
from ..distance.protocol import Box
from ..field.deform_template import DOMAIN_RADIUS_UNIT
from ..field.losses import eikonal_loss
from ..field.siren import Layers, siren_jet
from ..templates.template import OrganTemplate
from .adam import Adam
from .candidates import Candidates
from .options import FitOptions
from .pose import Pose
from .prior import CodePrior


@dataclass(frozen=True, eq=False)
class FittedField:
    """The field of one patient, which can be asked anywhere.

    Args:
        template: whose Temp it uses.
        deform: layers of this patient's Deform.
        alpha, beta: (1, c) fitted codes.
        ras_to_unit: the alignment.
        code_energy: Mahalanobis energy of the codes, about 1 for a typical patient.
    """

    template: OrganTemplate
    deform: Layers
    alpha: torch.Tensor
    beta: torch.Tensor
    ras_to_unit: Similarity
    code_energy: float

    @property
    def mm_per_unit(self) -> float:
        """Length of one unit in mm."""
        return 1.0 / self.ras_to_unit.scale

    @property
    def bounds_ras(self) -> Box:
        """Lower and upper corner (RAS mm) of the box around the domain of fields, outside which nothing is enclosed."""
        middle = self.ras_to_unit.inverse().apply(np.zeros((1, 3)))[0]
        reach_mm = DOMAIN_RADIUS_UNIT * self.mm_per_unit
        return middle - reach_mm, middle + reach_mm

    def sdf_mm(self, points_ras: np.ndarray) -> np.ndarray:
        """(N,) signed distance in mm (negative inside) at (N, 3) RAS points."""
        return self._ask(points_ras, self.template.model.distance) * self.mm_per_unit

    def template_coordinates(self, points_ras: np.ndarray) -> np.ndarray:
        """(N, 3) unit-frame points of the template that (N, 3) RAS points correspond to."""
        return self._ask(points_ras, self.template.model.template_coordinates)

    @torch.no_grad()
    def _ask(self, points_ras: np.ndarray, question: Callable) -> np.ndarray:
        device = self.alpha.device
        parts = []
        # Chunks of this size keep the activations within the processor's cache.
        for part in np.array_split(np.asarray(points_ras), max(1, len(points_ras) // 16384)):
            unit = torch.as_tensor(self.ras_to_unit.apply(part), dtype=torch.float32, device=device)
            parts.append(question(self.deform, unit[None])[0].cpu().double().numpy())
        return np.concatenate(parts)


def field_of_codes(
    template: OrganTemplate, prior: CodePrior, alpha: torch.Tensor, beta: torch.Tensor, ras_to_unit: Similarity
) -> FittedField:
    """The field of the shape space (Eq. 3) at codes (1, c), placed by ``ras_to_unit``; ``prior`` is the template's."""
    with torch.no_grad():
        deform = template.model.deform_layers(alpha, beta)
        energy = float(prior.energy(alpha, beta))
    return FittedField(template, deform, alpha, beta, ras_to_unit, energy)


class PendingFit:
    """A field that is fitted when it is first asked for.

    Args:
        fit: makes the field.
    """

    def __init__(self, fit: Callable[[], FittedField]):
        self._fit = fit

    @cached_property
    def field(self) -> FittedField:
        """The fitted field."""
        return self._fit()

    def finish(self) -> None:
        """Fit now, if that is still to be done."""
        _ = self.field

    @property
    def is_done(self) -> bool:
        """True where the field is there already."""
        return "field" in self.__dict__

    @property
    def bounds_ras(self) -> Box:
        """The fitted field's box."""
        return self.field.bounds_ras

    def sdf_mm(self, points_ras: np.ndarray) -> np.ndarray:
        """(N,) signed distance in mm of the fitted field at (N, 3) RAS points."""
        return self.field.sdf_mm(points_ras)


class _Points:
    """Candidates as tensors, drawn from at random."""

    def __init__(self, candidates: Candidates, options: FitOptions, template: OrganTemplate, far_unit: float):
        device = template.alpha.device

        def tensor(array):
            return torch.as_tensor(np.asarray(array), dtype=torch.float32, device=device)

        self.points, self.normals, self.weights = map(
            tensor, (candidates.points, candidates.normals, candidates.weights)
        )
        self.free, self.free_sdf, self.free_weights = map(
            tensor, (candidates.free_points, candidates.free_sdf, candidates.free_weights)
        )
        self.options = options
        self.generator = torch.Generator().manual_seed(options.seed)
        self.outside = tensor(self._far_outside(candidates.points, template, far_unit))

    @torch.no_grad()
    def _far_outside(self, candidate_points: np.ndarray, template: OrganTemplate, far_unit: float, n: int = 8000):
        """(M, 3) points of the domain that are far from the candidates and outside the template."""
        from scipy.spatial import cKDTree

        cube = DOMAIN_RADIUS_UNIT * (torch.rand(n, 3, generator=self.generator) * 2 - 1)
        ball = cube[cube.norm(dim=1) <= DOMAIN_RADIUS_UNIT]
        distance, _ = cKDTree(candidate_points).query(ball.numpy())
        template_sdf = template.model.template_values(ball.to(template.alpha.device)).cpu().numpy()
        return ball.numpy()[(distance > far_unit) & (template_sdf > far_unit)]

    def draw_outside(self) -> torch.Tensor:
        """(n, 3) points where there should be nothing; none where there are no such points."""
        if not len(self.outside) or not self.options.outside:
            return self.outside[:0]
        return self.outside[torch.randint(len(self.outside), (self.options.free_points,), generator=self.generator)]

    @torch.no_grad()
    def move(self, pose: Pose) -> None:
        """Put the candidates where a fitted pose has them."""
        self.free, self.free_sdf, _ = pose.move(self.free, self.free_sdf, self.normals[:0])
        self.points, _, self.normals = pose.move(self.points, self.free_sdf[:0], self.normals)

    def draw(self):
        """points (1, N, 3), target distances (N,), weights (N,), normals of the first ``surface_points``."""
        o = self.options
        on = torch.randint(len(self.points), (o.surface_points,), generator=self.generator)
        off = torch.randint(len(self.free), (o.free_points,), generator=self.generator)
        points = torch.cat([self.points[on], self.free[off]])[None]
        target = torch.cat([torch.zeros(len(on), device=points.device), self.free_sdf[off]])
        return points, target, torch.cat([self.weights[on], self.free_weights[off]]), self.normals[on]


def fit_field(
    template: OrganTemplate,
    candidates: Candidates,
    ras_to_unit: Similarity,
    options: FitOptions,
    on_step: Callable[[float], None] | None = None,
    start: FittedField | None = None,
) -> FittedField:
    """Fit codes, then weights, to the candidates (Eq. 8).

    Args:
        template: trained template on the device to compute on.
        candidates: trusted points, unit frame.
        ras_to_unit: the alignment they were made with; its scale turns ``robust_mm`` into unit lengths.
        options: steps and weights.
        on_step: called with the done fraction; may raise to cancel.
        start: a fit of codes to go on from with the weights; ``ras_to_unit`` is its own then.
    """
    far_unit = options.far_mm * ras_to_unit.scale
    points = _Points(candidates, options, template, far_unit)
    report = on_step or (lambda fraction: None)
    if start is not None:
        steps = options.weight_steps
        deform = _fit_weights(template, start.deform, points, ras_to_unit, options, lambda s: report(s / steps))
        return replace(start, deform=deform)
    prior = CodePrior.from_template(template)
    alpha, beta = (c.clone().requires_grad_() for c in nearest_training_codes(template, prior, points))
    total = options.code_steps + options.weight_steps
    pose = Pose(alpha.device)
    rates = [(code, options.code_learning_rate) for code in (alpha, beta)]
    optimiser = Adam([*rates, (pose.parameters, options.pose_learning_rate)])
    for step in range(options.code_steps):
        progress = step / max(1, options.code_steps)
        first, last = options.robust_mm
        robust = (first + (last - first) * min(1.0, 2 * progress)) * ras_to_unit.scale
        deform = template.model.deform_layers(alpha, beta)
        drawn, target, weights, normals = points.draw()
        drawn, target, normals = pose.move(drawn, target, normals)
        loss = data_loss(template.model, deform, (drawn, target, weights, normals), robust, options)
        loss = loss + _enclosure_loss(template, deform, points, far_unit)
        loss = loss + options.code_prior * prior.energy(alpha, beta)
        optimiser.descend(loss, progress)
        report(step / total)
    deform = [(w.detach(), b.detach()) for w, b in template.model.deform_layers(alpha, beta)]
    ras_to_unit = pose.after(ras_to_unit)
    points.move(pose)
    after_codes = options.code_steps
    deform = _fit_weights(template, deform, points, ras_to_unit, options, lambda s: report((after_codes + s) / total))
    with torch.no_grad():
        energy = float(prior.energy(alpha, beta))
    return FittedField(template, deform, alpha.detach(), beta.detach(), ras_to_unit, energy)


def data_loss(model, deform: Layers, drawn, robust_unit: float, options: FitOptions) -> torch.Tensor:
    """L_sdf of Eq. 4 on the drawn points, each with its trust; points the field cannot explain count less."""
    points, target, weights, normals = drawn
    n = len(normals)
    values = model.evaluate(deform, points)
    residual = (values.sdf[0] - target).abs()
    if robust_unit > 0:
        weights = weights / (1 + (residual.detach() / robust_unit).square()).square()
    weights = weights / weights.mean().clamp_min(1e-6)
    sdf = (weights * residual.clamp(max=0.5)).mean()
    cosine = torch.nn.functional.cosine_similarity(values.gradient[0, :n], normals, dim=-1)
    normal = (weights[:n] * (1 - cosine)).mean()
    return options.sdf * sdf + options.normal * normal + options.eikonal * eikonal_loss(values.gradient)


@torch.no_grad()
def nearest_training_codes(template: OrganTemplate, prior: CodePrior, points: _Points):
    """Codes (1, c) to start from: those of the training shape, or the mean, whose field explains the points best."""
    drawn, target, weights, _ = points.draw()
    half = prior.mean.chunk(2)
    alphas = torch.cat([half[0][None], template.alpha])
    betas = torch.cat([half[1][None], template.beta])
    costs = []
    for alpha, beta in zip(alphas.split(1), betas.split(1), strict=True):
        values = template.model.values(template.model.deform_layers(alpha, beta), drawn)[0]
        costs.append(float((weights * (values - target).abs().clamp(max=0.15)).mean()))
    best = int(np.argmin(costs))
    return alphas[best : best + 1], betas[best : best + 1]


def _fit_weights(template, deform: Layers, points: _Points, ras_to_unit, options: FitOptions, report) -> Layers:
    if options.weight_steps == 0:
        return deform
    start = [t for layer in deform for t in layer]
    scale = [t.square().mean().sqrt() + 1e-8 for t in start]
    theta = [t.clone().requires_grad_() for t in start]
    layers = list(zip(theta[0::2], theta[1::2], strict=True))
    optimiser = Adam([(t, options.weight_learning_rate) for t in theta])
    robust, far_unit = (length * ras_to_unit.scale for length in (options.robust_mm[1], options.far_mm))
    omegas = template.model.options.omegas
    for step in range(options.weight_steps):
        drawn = points.draw()
        loss = data_loss(template.model, layers, drawn, robust, options)
        if options.smoothness:
            laplacian = siren_jet(layers, drawn[0][:, ::4], omegas)[2][..., :3]
            loss = loss + options.smoothness * (laplacian.square().sum(-1) + 1e-12).sqrt().mean()
        loss = loss + _enclosure_loss(template, layers, points, far_unit)
        pull = torch.stack([((t - t0) / s).square().mean() for t, t0, s in zip(theta, start, scale, strict=True)])
        optimiser.descend(loss + options.weight_prior * pull.mean(), step / options.weight_steps)
        report(step)
    return [(w.detach(), b.detach()) for w, b in layers]


def _enclosure_loss(template: OrganTemplate, deform: Layers, points: _Points, far_unit: float) -> torch.Tensor:
    """How much the field encloses at points that are outside the template and far from every candidate."""
    outside = points.draw_outside()
    if not len(outside):
        return torch.zeros((), device=points.points.device)
    values = template.model.values(deform, outside[None])[0]
    return points.options.outside * points.options.sdf * torch.relu(0.5 * far_unit - values).mean()
