"""The paper's formulation, written plainly: what the benchmarks measure this library against.

All derivatives come from nested ``autograd.grad``, alpha is concatenated to every point, the fine-tuning of section
3.2 moves alpha and all of H(beta) on 4K surface and 4K free-space points a step for 1,500 steps (30 epochs), and a
surface comes from every cell of a 256^3 grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ReShapeITLib.field import losses
from ReShapeITLib.field.deform_template import DeformTemplateField
from Testing.oracles import nested_gradient, nested_laplacian, paper_field, paper_temp, plain_siren

FINE_TUNING_STEPS = 1500
POINTS_OF_EACH_KIND = 4000
LEARNING_RATE = 1e-4


def training_loss(model, alpha, beta, batch, n_surface: int) -> torch.Tensor:
    """Eq. 4 to 6 and L_dis of S shapes; ``batch`` is points (S, N, 3), surface first, normals and distances."""
    points, normals, target = batch
    points = points.clone().requires_grad_()
    x = torch.cat([points, alpha[:, None].expand(-1, points.shape[1], -1)], dim=-1)
    moved = plain_siren(model.hyper(beta), x, model.options.omegas)
    warped = points + moved[..., :3]
    temp = paper_temp(model, warped)
    sdf = temp + moved[..., 3]
    gradient, template_gradient = nested_gradient(sdf, points), nested_gradient(temp, warped)
    laplacian = nested_laplacian(moved[..., :3], points)
    return weighted_loss(sdf, gradient, template_gradient, laplacian, moved[..., 3], (normals, target), n_surface)


def weighted_loss(sdf, gradient, template_gradient, laplacian, ddis, truth, n_surface: int) -> torch.Tensor:
    """Eq. 4 to 6 and L_dis with the weights of section 4.2.1."""
    normals, target = truth
    return (
        3e3 * losses.sdf_loss(sdf, target)
        + 1e2 * losses.normal_loss(gradient[:, :n_surface], normals)
        + 5e1 * losses.eikonal_loss(gradient)
        + 5e2 * losses.off_surface_loss(sdf[:, n_surface:])
        + 1e2 * losses.template_normal_loss(template_gradient[:, :n_surface], normals)
        + 5.0 * losses.smoothness_loss(laplacian)
        + 1e2 * losses.displacement_loss(ddis)
    )


@dataclass(frozen=True)
class Target:
    """What a fit sees: surface points (N, 3) with normals, free points (M, 3) with distances; unit frame, float32."""

    points: torch.Tensor
    normals: torch.Tensor
    free: torch.Tensor
    free_sdf: torch.Tensor

    @classmethod
    def of(cls, candidates) -> Target:
        """From :class:`ReShapeITLib.interaction.candidates.Candidates`."""
        names = ("points", "normals", "free_points", "free_sdf")
        return cls(*(torch.as_tensor(np.asarray(getattr(candidates, name)), dtype=torch.float32) for name in names))


class FineTuning:
    """Eq. 8 as printed: Temp stays, alpha, beta and all of H are moved by Adam on random points.

    The off-surface term is left out, in favour of this side: it pushes free points near the surface away from it.

    Args:
        model: a model of its own; it is changed.
        alpha, beta: (1, c) codes to start from.
        target: points to fit.
        with_laplacian: also compute the Laplacian of Deform, of which Eq. 8 makes no use, as published code does.
        seed: of the drawn points.
    """

    def __init__(self, model: DeformTemplateField, alpha, beta, target: Target, with_laplacian=False, seed: int = 0):
        self.model, self.target, self.with_laplacian = model, target, with_laplacian
        self.alpha, self.beta = (code.detach().clone().requires_grad_() for code in (alpha, beta))
        model.hyper.requires_grad_(True)
        self.optimiser = torch.optim.Adam([self.alpha, self.beta, *model.hyper.parameters()], lr=LEARNING_RATE)
        self.generator = torch.Generator().manual_seed(seed)

    def step(self, n: int = POINTS_OF_EACH_KIND) -> None:
        """One step on ``n`` surface and ``n`` free points."""
        on = torch.randint(len(self.target.points), (n,), generator=self.generator)
        off = torch.randint(len(self.target.free), (n,), generator=self.generator)
        points = torch.cat([self.target.points[on], self.target.free[off]]).requires_grad_()
        distance = torch.cat([torch.zeros(n), self.target.free_sdf[off]])
        sdf = paper_field(self.model, points, self.alpha[0], self.beta[0])
        gradient = nested_gradient(sdf, points)
        loss = (
            3e3 * losses.sdf_loss(sdf[None], distance[None])
            + 1e2 * losses.normal_loss(gradient[None, :n], self.target.normals[on][None])
            + 5e1 * losses.eikonal_loss(gradient[None])
            + self.alpha.norm()
            + self.beta.norm()
        )
        if self.with_laplacian:
            x = torch.cat([points, self.alpha.expand(len(points), -1)], dim=1)[None]
            moved = plain_siren(self.model.hyper(self.beta), x, self.model.options.omegas)[0]
            nested_laplacian(moved[:, :3], points)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()

    @torch.no_grad()
    def residual(self, points: torch.Tensor) -> float:
        """Mean |F| at (N, 3) points, unit lengths."""
        return float(paper_field(self.model, points, self.alpha[0], self.beta[0]).abs().mean())


@torch.no_grad()
def dense_zero_level(sdf, lower: np.ndarray, upper: np.ndarray, resolution: int = 256):
    """Vertices and faces of the zero level from every node of a grid with ``resolution`` cells along the longest edge.

    Args:
        sdf: callable from (N, 3) to (N,) numpy arrays.
    """
    from skimage.measure import marching_cubes

    cell = float((upper - lower).max()) / resolution
    counts = np.maximum(np.ceil((upper - lower) / cell - 1e-6).astype(int), 1) + 1
    axes = [low + cell * np.arange(n) for low, n in zip(lower, counts, strict=True)]
    values = np.empty(counts, dtype=np.float32)
    for index, x in enumerate(axes[0]):
        y, z = np.meshgrid(axes[1], axes[2], indexing="ij")
        points = np.stack([np.full(y.shape, x), y, z], axis=-1).reshape(-1, 3)
        values[index] = np.asarray(sdf(points)).reshape(y.shape)
    vertices, faces, _, _ = marching_cubes(values, 0.0, spacing=(cell,) * 3, method="lorensen")
    return vertices + lower, faces
