"""What keeps the optimisation of Eq. 7 from diverging and the codes from collapsing."""

from __future__ import annotations

import math

import torch

from .config import OptimiserOptions


def learning_rate_factor(step: int, options: OptimiserOptions) -> float:
    """Linear warm-up, then a cosine down to ``final_rate``."""
    if step < options.warmup_steps:
        return (step + 1) / options.warmup_steps
    span = max(1, options.steps - options.warmup_steps)
    progress = min(1.0, (step - options.warmup_steps) / span)
    return options.final_rate + (1 - options.final_rate) * 0.5 * (1 + math.cos(math.pi * progress))


def code_penalty_factor(step: int, options: OptimiserOptions) -> float:
    """Code penalties rise over ten warm-ups: at full weight from the start they pull every code to zero."""
    return min(1.0, (step + 1) / (10 * max(1, options.warmup_steps)))


class GradientClipper:
    """Clips the gradient to a multiple of the median norm of recent steps, so that it needs no tuning per loss scale.

    Args:
        factor: multiple of the median at which a step is clipped.
        window: recent steps that the median is over.
    """

    def __init__(self, factor: float, window: int = 50):
        self.factor, self.window = factor, window
        self.norms: list[float] = []

    def clip(self, parameters: list[torch.Tensor]) -> float:
        """Clip in place; returns the norm before clipping."""
        limit = self.factor * sorted(self.norms)[len(self.norms) // 2] if self.norms else math.inf
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, limit if math.isfinite(limit) else 1e30))
        self.norms = [*self.norms, min(norm, limit)][-self.window :]
        return norm

    def state(self) -> torch.Tensor:
        """Recent norms, for the checkpoint."""
        return torch.tensor(self.norms, dtype=torch.float64)

    def restore(self, state: torch.Tensor) -> None:
        """Take over the norms of a checkpoint."""
        self.norms = state.tolist()
