"""The loss terms of section 3.3, one function each, and their weights (4.2.2).

Sums over points are taken as means, so that a weight means the same for any number of points; a shape counts once
whatever its number of points. All quantities are in the unit frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.functional import cosine_similarity


@dataclass(frozen=True)
class LossWeights:
    """Weights of Eq. 4 to 7; the defaults are the paper's.

    Args:
        sdf: omega_s of Eq. 4.
        normal: omega_n of Eq. 4 and 5.
        eikonal: omega_Eik of Eq. 4.
        off_surface: omega_phi of Eq. 4.
        template_normal: switch (1 or 0) of L_tpn, Eq. 5, which shares omega_n.
        vec: omega_vec of L_vec, Eq. 6 and 7.
        dis: omega_dis of L_dis, Eq. 7.
        template_shape: switch (1 or 0) of L_TempShape, which shares omega_dis in Eq. 7.
        alpha: omega_alpha of L_reg_alpha and L_reg_t.
        beta: omega_beta of L_reg_beta.
    """

    sdf: float = 3e3
    normal: float = 1e2
    eikonal: float = 5e1
    off_surface: float = 5e2
    template_normal: float = 1.0
    vec: float = 5.0
    dis: float = 1e2
    template_shape: float = 1.0
    alpha: float = 1e5
    beta: float = 1e6


def sdf_loss(predicted: torch.Tensor, target: torch.Tensor, clamp: float = 0.5) -> torch.Tensor:
    """First term of Eq. 4: mean |F(p) - s(p)|, both clamped, for far distances say nothing of the shape."""
    return (predicted.clamp(-clamp, clamp) - target.clamp(-clamp, clamp)).abs().mean()


def normal_loss(gradient: torch.Tensor, normals: torch.Tensor) -> torch.Tensor:
    """Second term of Eq. 4: mean 1 - cos(grad F(p), n(p)) over surface points; (..., 3) each."""
    return (1 - cosine_similarity(gradient, normals, dim=-1)).mean()


def eikonal_loss(gradient: torch.Tensor) -> torch.Tensor:
    """Third term of Eq. 4: mean | |grad F(p)| - 1 |."""
    return (gradient.norm(dim=-1) - 1).abs().mean()


def off_surface_loss(predicted: torch.Tensor, sharpness: float = 100.0) -> torch.Tensor:
    """Last term of Eq. 4: mean exp(-delta |F(p)|) over points off the surface."""
    return torch.exp(-sharpness * predicted.abs()).mean()


def template_normal_loss(template_gradient: torch.Tensor, normals: torch.Tensor) -> torch.Tensor:
    """L_tpn, Eq. 5, without omega_n: mean 1 - cos(grad Temp(p + dvec), n(p)) over surface points."""
    return normal_loss(template_gradient, normals)


def smoothness_loss(laplacian: torch.Tensor) -> torch.Tensor:
    """L_vec, Eq. 6: mean length of the Laplacian of dvec; (..., 3)."""
    # The small constant keeps the derivative of the length finite where the Laplacian vanishes.
    return (laplacian.square().sum(-1) + 1e-12).sqrt().mean()


def displacement_loss(ddis: torch.Tensor) -> torch.Tensor:
    """L_dis: mean |ddis|."""
    return ddis.abs().mean()


def template_shape_loss(template_deformation: torch.Tensor) -> torch.Tensor:
    """L_TempShape: mean |Deform_{H(beta_t)}(p_t, t)| over the (..., 4) components of dvec and ddis."""
    return template_deformation.abs().sum(-1).mean()


def code_loss(codes: torch.Tensor) -> torch.Tensor:
    """L_reg_alpha, L_reg_t, L_reg_beta: mean squared code entry."""
    return codes.square().mean()
