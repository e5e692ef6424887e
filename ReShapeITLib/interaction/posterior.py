"""The E step of coherent point drift: who matches whom, in bounded memory.

The N x M matrix P is never stored. Both point sets are put in a compact order (neighbours next to each other) and the
target is taken chunk by chunk; source points too far from a chunk to matter are left out, by a bound, not by a guess.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import log, pi, sqrt

import numpy as np

from ..core.geometry import Similarity

_SKIP_ERROR = 1e-6  # share of the outliers' density that left-out source points may hold together
_LOWEST_EXPONENT = -80.0  # keeps float32 out of denormals, which are slow; exp(-80) adds nothing
_NOTHING = 1e-30  # a sum of Gaussians below this counts as none
_SOURCE_PIECE = 128


@dataclass(frozen=True, eq=False)
class Posterior:
    """Sums over P, float64, in the compact order of the mixture.

    Args:
        p1: (M,) row sums.
        pt1: (N,) column sums.
        px: (M, 3) the product P X.
        minus_log_likelihood: of the target under the mixture.
    """

    p1: np.ndarray
    pt1: np.ndarray
    px: np.ndarray
    minus_log_likelihood: float


class Mixture:
    """Gaussians at the source points plus a uniform outlier density, and the target they explain.

    Args:
        y: (M, 3) source, about unit size around the origin.
        x: (N, 3) target, likewise.
        outlier_weight: share of the uniform density, in [0, 1).
        outlier_volume: volume over which it spreads, in cubed units of ``x``.
        chunk_points: most target points at a time; None chooses by device.
        dtype: "float32" or "float64" for P.
        device: torch device.
    """

    def __init__(self, y, x, outlier_weight: float, outlier_volume: float, chunk_points, dtype: str, device: str):
        import torch

        self.device, self.dtype = torch.device(device), getattr(torch, dtype)
        self.outlier_weight, self.outlier_volume = outlier_weight, outlier_volume
        self.y_order, self.y_bounds = compact_order(y, _SOURCE_PIECE)
        self.x_order, self.x_bounds = compact_order(x, chunk_points or (512 if self.device.type == "cpu" else 2048))
        self.y, self.x = y[self.y_order], x[self.x_order]
        self.y_spheres, self.x_spheres = _spheres(self.y, self.y_bounds), _spheres(self.x, self.x_bounds)
        self.lowest_sigma2 = 1e-6 if dtype == "float32" else 1e-14

    def expect(self, state: Similarity, sigma2: float, log_weights: np.ndarray) -> Posterior:
        """E step for the source moved by ``state``; ``log_weights`` (M,) are log(M pi_m) in compact order."""
        import torch

        w, n, m = self.outlier_weight, len(self.x), len(self.y)
        constant = (2.0 * pi * sigma2) ** 1.5 * w / (1.0 - w) * m / self.outlier_volume
        unit = 1.0 / sqrt(2.0 * sigma2)
        x, y, bias = (self._tensor(v) for v in (self.x * unit, state.apply(self.y) * unit, log_weights))
        sums, totals = (torch.zeros(shape, dtype=torch.float64) for shape in ((m, 4), n))
        for first, last, radius, sources in self._chunks(state, sigma2, constant, log_weights):
            centre = x[first:last].mean(dim=0)
            chunk = x[first:last] - centre
            kernel = _kernel(chunk, y[sources] - centre, bias[sources], radius * unit)
            total = kernel.sum(dim=1)
            inverse = torch.where(total > _NOTHING, 1.0 / (total + constant), 0.0)
            part = (kernel.T @ torch.cat([inverse[:, None], chunk * inverse[:, None]], dim=1)).cpu().double()
            part[:, 1:] += part[:, :1] * centre.cpu().double()
            sums[sources] += part
            totals[first:last] = total.cpu().double()
        sums, totals = sums.numpy(), totals.numpy()
        totals[totals <= _NOTHING] = 0.0
        density = np.maximum(totals + constant, _NOTHING)
        likelihood = np.log(density).sum() - n * (log(m) + 1.5 * log(2.0 * pi * sigma2) - log(1.0 - w))
        return Posterior(sums[:, 0], totals / density, sums[:, 1:] / unit, -float(likelihood))

    def _tensor(self, values: np.ndarray):
        import torch

        return torch.as_tensor(values).to(self.dtype).to(self.device)

    def _chunks(self, state, sigma2, constant, log_weights) -> Iterator[tuple]:
        """First and last target point, radius, and the source points that matter to them.

        Left out is what cannot hold more than _SKIP_ERROR of the outliers' density; without outliers even the
        farthest target point is shared out among the source, so nothing is.
        """
        import torch

        (y_centres, y_radii), (x_centres, x_radii) = self.y_spheres, self.x_spheres
        near = np.ones((len(x_radii), len(y_radii)), dtype=bool)
        if constant > 0.0:
            exponent = log(len(self.y) / (_SKIP_ERROR * constant)) + max(0.0, float(log_weights.max()))
            gaps = np.linalg.norm(x_centres[:, None] - state.apply(y_centres)[None], axis=2)
            gaps -= x_radii[:, None] + state.scale * y_radii[None]
            near = gaps <= sqrt(2.0 * sigma2 * max(exponent, 0.0))
        gather, sizes = near.mean() < 0.5, np.diff(self.y_bounds)  # above, picking points costs more than it saves
        for row, radius, (first, last) in zip(near, x_radii, pairwise(self.x_bounds), strict=True):
            sources = torch.from_numpy(np.flatnonzero(np.repeat(row, sizes))) if gather else slice(None)
            yield first, last, radius, sources


def _kernel(x, y, bias, reach: float):
    """exp(bias_m - |x_n - y_m|^2), (n, m), for points divided by sqrt(2) sigma, with |x_n| <= reach."""
    import torch

    if reach**2 * torch.finfo(x.dtype).eps < 1e-4:  # one matrix product: -|x|^2 + 2 x y - |y|^2
        left = torch.cat([x, x.square().sum(1, keepdim=True), torch.ones_like(x[:, :1])], dim=1)
        right = torch.cat([2.0 * y, -torch.ones_like(y[:, :1]), (bias - y.square().sum(1))[:, None]], dim=1)
        exponent = left @ right.T
    else:  # differences first, where the product would cancel
        exponent = bias.repeat(len(x), 1)
        for axis in range(3):
            exponent -= (x[:, axis, None] - y[None, :, axis]).square_()
    return exponent.clamp_(min=_LOWEST_EXPONENT).exp_()


def compact_order(points: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Order of (N, 3) points that makes pieces of at most ``most`` compact, and the bounds of the pieces."""
    pieces, waiting = [], [np.arange(len(points))]
    while waiting:
        piece = waiting.pop()
        if len(piece) <= most:
            pieces.append(piece)
            continue
        axis = int(np.ptp(points[piece], axis=0).argmax())
        order, half = np.argsort(points[piece, axis], kind="stable"), len(piece) // 2
        waiting += [piece[order[half:]], piece[order[:half]]]
    return np.concatenate(pieces), np.cumsum([0] + [len(piece) for piece in pieces])


def _spheres(points: np.ndarray, bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centres (B, 3) and radii (B,) of spheres around the pieces between the bounds."""
    pieces = [points[first:last] for first, last in pairwise(bounds)]
    centres = np.array([piece.mean(axis=0) for piece in pieces])
    radii = np.array([sqrt(np.square(p - c).sum(axis=1).max()) for p, c in zip(pieces, centres, strict=True)])
    return centres, radii
