"""What the library's numbers are compared with: nested autograd, the paper's equations word by word, analytic shapes.

Nothing here uses the sweeps of ``ReShapeITLib.field.siren``: derivatives come from ``torch.autograd.grad`` with
``create_graph``, the fields are plain matrix products, and the shapes have distances and normals in closed form.
At the end a tiny model that is trained on such shapes once for all tests that need a trained one.
"""

from __future__ import annotations

import functools
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ReShapeITLib.core.geometry import Similarity
from ReShapeITLib.field.deform_template import DeformTemplateField, FieldOptions
from ReShapeITLib.field.losses import LossWeights
from ReShapeITLib.templates.template import OrganTemplate, TemplateInfo
from ReShapeITLib.training.config import OptimiserOptions, TrainingConfig
from ReShapeITLib.training.data import TrainingSet
from ReShapeITLib.training.loop import LOG_NAME, Trainer
from ReShapeITLib.training.sampling import ShapeSamples

MM_PER_UNIT = 100.0
RADII = ((0.6, 0.6, 0.6), (0.75, 0.6, 0.5), (0.5, 0.6, 0.75), (0.7, 0.7, 0.7), (0.5, 0.5, 0.5))


def relative_error(values: torch.Tensor, reference: torch.Tensor) -> float:
    """Length of the difference as a share of the reference's length."""
    return float((values.detach() - reference.detach()).norm() / reference.detach().norm())


def plain_siren(layers, x: torch.Tensor, omegas: tuple[float, float]) -> torch.Tensor:
    """(..., N, out) values of a SIREN at (..., N, in) inputs: ``sin(omega (W x + b))``, the last layer linear."""
    for index, (weight, bias) in enumerate(layers):
        x = x @ weight.transpose(-1, -2) + bias.unsqueeze(-2)
        if index < len(layers) - 1:
            x = torch.sin((omegas[0] if index == 0 else omegas[1]) * x)
    return x


def nested_gradient(values: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """(..., 3) gradient of (...,) values, itself differentiable."""
    return torch.autograd.grad(values.sum(), points, create_graph=True)[0]


def nested_jacobian(values: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """(..., 3, N, out) derivatives of (..., N, out) values, laid out as ``siren_jet`` does."""
    columns = [nested_gradient(values[..., c], points) for c in range(values.shape[-1])]
    return torch.stack(columns, dim=-1).transpose(-3, -2)


def nested_laplacian(values: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """(..., N, out) trace of the Hessian of every component, by differentiating the gradient once more."""
    columns = []
    for component in range(values.shape[-1]):
        gradient = nested_gradient(values[..., component], points)
        columns.append(sum(nested_gradient(gradient[..., d], points)[..., d] for d in range(points.shape[-1])))
    return torch.stack(columns, dim=-1)


def paper_temp(model, points: torch.Tensor) -> torch.Tensor:
    """Temp at (..., 3) points: (...,)."""
    return plain_siren(model.temp.layers(), points, model.options.omegas)[..., 0]


def paper_deform(model, points: torch.Tensor, alpha: torch.Tensor, beta: torch.Tensor) -> torch.Tensor:
    """Eq. 2 as printed: alpha (c,) concatenated to every one of the (N, 3) points, weights H(beta); (N, 4)."""
    x = points
    if model.options.use_alpha:
        x = torch.cat([points, alpha.expand(len(points), -1)], dim=1)
    if not model.options.use_beta:
        return plain_siren(model.deform.layers(), x, model.options.omegas)
    layers = []
    for mlp, (n_out, n_in) in zip(model.hyper.mlps, model.hyper.shapes, strict=True):
        flat = mlp(beta[None])[0]
        layers.append((flat[: n_out * n_in].reshape(n_out, n_in), flat[n_out * n_in :]))
    return plain_siren(layers, x, model.options.omegas)


def paper_field(model, points: torch.Tensor, alpha: torch.Tensor, beta: torch.Tensor) -> torch.Tensor:
    """Eq. 1 and 3 as printed, for one shape: Temp(p + dvec) + ddis at (N, 3) points; (N,)."""
    moved = paper_deform(model, points, alpha, beta)
    return paper_temp(model, points + moved[:, :3]) + moved[:, 3]


def ellipsoid_sdf(points: np.ndarray, radii) -> np.ndarray:
    """(N,) exact signed distance of (N, 3) points to the ellipsoid around the origin (a sphere for equal radii).

    The nearest surface point is ``a^2 p / (t + a^2)`` with the t that puts it on the ellipsoid, found by bisection.
    """
    squared = np.asarray(radii, dtype=np.float64) ** 2
    p = np.maximum(np.abs(np.asarray(points, dtype=np.float64)), 1e-9)
    low = np.max(np.sqrt(squared) * p - squared, axis=1)
    high = np.linalg.norm(np.sqrt(squared) * p, axis=1) - squared.min()
    for _ in range(60):
        middle = 0.5 * (low + high)
        outside = (squared * p**2 / (middle[:, None] + squared) ** 2).sum(1) > 1
        low, high = np.where(outside, middle, low), np.where(outside, high, middle)
    nearest = squared * p / (0.5 * (low + high)[:, None] + squared)
    return np.linalg.norm(p - nearest, axis=1) * np.sign((p**2 / squared).sum(1) - 1)


def ellipsoid_surface(radii, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(n, 3) points on an ellipsoid and their outward unit normals."""
    radii = np.asarray(radii, dtype=np.float64)
    directions = rng.normal(size=(n, 3))
    points = directions / np.linalg.norm(directions, axis=1, keepdims=True) * radii
    normals = points / radii**2
    return points, normals / np.linalg.norm(normals, axis=1, keepdims=True)


def ellipsoid_samples(radii, case: str, seed: int, n: int = 3000) -> ShapeSamples:
    """Training samples of an ellipsoid around the origin of the unit frame, n on the surface and n in the ball."""
    rng = np.random.default_rng(seed)
    points, normals = ellipsoid_surface(radii, n, rng)
    free = rng.normal(size=(n, 3))
    free *= (np.cbrt(rng.random(n)) / np.linalg.norm(free, axis=1))[:, None]
    return ShapeSamples(
        points.astype(np.float32),
        normals.astype(np.float32),
        free.astype(np.float32),
        ellipsoid_sdf(free, radii).astype(np.float32),
        Similarity(1.0 / MM_PER_UNIT, np.eye(3), np.zeros(3)),
        case,
        4.0 / 3.0 * np.pi * float(np.prod(radii)) * MM_PER_UNIT**3 / 1000.0,
    )


def ellipsoid_set(radii=RADII, n: int = 3000) -> TrainingSet:
    """A training set of one ellipsoid for each triple of radii."""
    return TrainingSet([ellipsoid_samples(r, f"case{i}", i, n) for i, r in enumerate(radii)])


TINY_CONFIG = TrainingConfig(
    model=FieldOptions(
        hidden=48, depth=4, code_size=4, hyper_hidden=16, hyper_depth=2, first_omega=15.0, hidden_omega=15.0
    ),
    weights=LossWeights(off_surface=20.0, alpha=4.0, beta=4.0),
    optimiser=OptimiserOptions(
        steps=200,
        shapes_per_step=3,
        surface_points=150,
        free_points=150,
        laplacian_points=80,
        learning_rate=1e-3,
        hyper_learning_rate=1e-3,
        code_learning_rate=2e-3,
        warmup_steps=10,
        final_rate=0.02,
        template_interval=50,
        template_resolution=16,
    ),
    code_start="pca",
    code_spread=0.3,
)


def with_optimiser(config: TrainingConfig, **changes) -> TrainingConfig:
    """The configuration with some settings of its optimiser changed."""
    return replace(config, optimiser=replace(config.optimiser, **changes))


@functools.cache
def trained_on_ellipsoids() -> tuple[Trainer, list[dict]]:
    """A tiny model after its training on :data:`RADII`, and the lines of its log; trained at the first call only."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(ellipsoid_set(), TINY_CONFIG, folder)
        trainer.run()
        log = (Path(folder) / LOG_NAME).read_text(encoding="utf-8")
    return trainer, [json.loads(line) for line in log.splitlines()]


def tiny_template() -> OrganTemplate:
    """A template of its own, made of the tiny trained model; its surface points are those of the first shape."""
    trainer, _ = trained_on_ellipsoids()
    model = DeformTemplateField(trainer.config.model)
    model.load_state_dict(trainer.model.state_dict())
    model.requires_grad_(False)
    n = len(RADII)
    info = TemplateInfo(
        organ="test_organ",
        snomed_code="",
        licence="CC0-1.0",
        source="generated",
        cases=list(trainer.data.cases),
        volumes_ml=list(trainer.data.volumes_ml),
        scales_mm=list(trainer.data.scales_mm),
        alignment_residuals_mm=[1.0] * n,
        fit_residuals_mm=[0.2] * n,
        frame="as generated",
    )
    points, normals = ellipsoid_surface(RADII[0], 500, np.random.default_rng(0))
    alpha, beta = (trainer.codes[name].detach().clone() for name in ("alpha", "beta"))
    return OrganTemplate(info, model, alpha, beta, points, normals)
