"""Adam for the few tensors of a fit."""

from __future__ import annotations

from math import cos, pi, sqrt

import torch

_DECAYS = (0.9, 0.999)
_LEAST = 1e-8


class Adam:
    """Adam (Kingma and Ba, ICLR 2015) with a rate that falls by a cosine to a twentieth of its peak.

    The first use of ``torch.optim`` loads torch's compiler, which takes longer than a whole draft fit.

    Args:
        peak_rates: leaf tensors that require gradients, changed in place, and the learning rate of each at the first
            step.
    """

    def __init__(self, peak_rates: list[tuple[torch.Tensor, float]]):
        parameters = [parameter for parameter, _ in peak_rates]
        self.parameters, self.peak_rates = parameters, [rate for _, rate in peak_rates]
        self._mean = [torch.zeros_like(p) for p in parameters]
        self._square = [torch.zeros_like(p) for p in parameters]
        self._steps = 0

    def descend(self, loss: torch.Tensor, progress: float) -> None:
        """One step down a loss; ``progress`` (0 to 1) is the share of the steps before it."""
        gradients = torch.autograd.grad(loss, self.parameters)
        self._steps += 1
        share = 0.05 + 0.95 * 0.5 * (1.0 + cos(pi * progress))
        first, second = (1.0 - decay**self._steps for decay in _DECAYS)
        with torch.no_grad():
            for parameter, rate, gradient, mean, square in zip(
                self.parameters, self.peak_rates, gradients, self._mean, self._square, strict=True
            ):
                mean.lerp_(gradient, 1.0 - _DECAYS[0])
                square.mul_(_DECAYS[1]).addcmul_(gradient, gradient, value=1.0 - _DECAYS[1])
                parameter.addcdiv_(mean, square.sqrt().div_(sqrt(second)).add_(_LEAST), value=-share * rate / first)
