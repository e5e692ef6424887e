"""How likely a pair of codes is: a Gaussian fitted to the codes of the training shapes."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..templates.template import OrganTemplate


@dataclass(frozen=True, eq=False)
class CodePrior:
    """Gaussian over z = (alpha, beta).

    Args:
        mean: (2 c,).
        whitener: (2 c, 2 c) symmetric matrix W with W W the inverse covariance.
        colourer: (2 c, 2 c) symmetric matrix L with L L the covariance.
    """

    mean: torch.Tensor
    whitener: torch.Tensor
    colourer: torch.Tensor

    @classmethod
    def from_template(cls, template: OrganTemplate, shrinkage: float = 0.1) -> CodePrior:
        """Fit to the training codes; the covariance is shrunk towards a sphere, for there are fewer codes than
        dimensions."""
        # On the processor: not every GPU has 64-bit numbers.
        codes = torch.cat([template.alpha, template.beta], dim=1).cpu().double()
        mean = codes.mean(0)
        centred = codes - mean
        covariance = centred.T @ centred / max(1, len(codes) - 1)
        size = covariance.shape[0]
        sphere = torch.eye(size, dtype=torch.float64) * (covariance.trace() / size + 1e-12)
        covariance = (1 - shrinkage) * covariance + shrinkage * sphere
        values, vectors = torch.linalg.eigh(covariance)
        # Symmetric roots are the same whatever eigenvectors a library finds, and so is what a seed draws.
        parts = (mean, vectors / values.sqrt() @ vectors.T, vectors * values.sqrt() @ vectors.T)
        return cls(*(part.float().to(template.alpha.device) for part in parts))

    def energy(self, alpha: torch.Tensor, beta: torch.Tensor) -> torch.Tensor:
        """Mean squared Mahalanobis distance per dimension of (S, c) codes: about 1 for a typical shape."""
        z = torch.cat([alpha, beta], dim=1) - self.mean
        return (z @ self.whitener).square().mean()

    def sample(self, n: int, generator: torch.Generator, spread: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
        """Codes of ``n`` patients that never were: (n, c) alpha and beta."""
        noise = torch.randn(n, len(self.mean), generator=generator).to(self.mean.device)
        z = self.mean + spread * noise @ self.colourer.T
        return tuple(z.chunk(2, dim=1))
