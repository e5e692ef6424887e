"""A small similarity of the unit frame that is fitted together with the codes."""

from __future__ import annotations

import torch

from ..core.geometry import Similarity


class Pose:
    """The map ``p -> exp(s) R(w) p + t`` of the unit frame, at first the identity.

    Args:
        device: of its seven parameters ``(s, w, t)``.
    """

    def __init__(self, device: torch.device):
        self.parameters = torch.zeros(7, device=device, requires_grad=True)

    def _parts(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Scale (), rotation (3, 3) and translation (3,)."""
        # In double precision: torch's matrix exponential is good for five digits only in single.
        log_scale, (x, y, z), shift = (part.squeeze(0) for part in self.parameters.double().split([1, 3, 3]))
        zero = torch.zeros_like(x)
        skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).reshape(3, 3)
        return log_scale.exp(), torch.linalg.matrix_exp(skew), shift

    def move(self, points: torch.Tensor, distances: torch.Tensor, normals: torch.Tensor):
        """(..., 3) points, distances there and (n, 3) normals in the moved frame; differentiable in the parameters."""
        scale, rotation, shift = (part.to(points.dtype) for part in self._parts())
        return scale * (points @ rotation.T) + shift, scale * distances, normals @ rotation.T

    @torch.no_grad()
    def after(self, first: Similarity) -> Similarity:
        """``first``, then this pose."""
        scale, rotation, shift = (part.cpu().numpy() for part in self._parts())
        return Similarity(float(scale), rotation, shift).after(first)
