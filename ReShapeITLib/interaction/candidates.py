"""Which points of the given organ TIM believes (section 3.2): Top-K % by matching probability, and their free space."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.geometry import Similarity
from ..core.mesh import TriangleSurface
from ..distance.protocol import SignedDistance


@dataclass(frozen=True)
class CandidateOptions:
    """Choice of candidates.

    Args:
        top_percent: share of the surface points kept, those that match the template best (25 in the paper). With
            robust fitting more may be kept, because the fit itself turns from points it cannot explain.
        n_surface: surface points drawn from the given organ.
        n_free: free-space points drawn around the candidates.
        free_spread_mm: standard deviations of the free points' distance to their candidate.
    """

    top_percent: float = 100.0
    n_surface: int = 4000
    n_free: int = 4000
    free_spread_mm: tuple[float, float] = (3.0, 10.0)


@dataclass(frozen=True, eq=False)
class Candidates:
    """What the fit sees of the given organ, all in the template's unit frame.

    Args:
        points: (N, 3) surface points.
        normals: (N, 3) outward unit normals.
        weights: (N,) trust in [0, 1].
        free_points: (M, 3) points off the surface.
        free_sdf: (M,) signed distance there, unit lengths.
        free_weights: (M,) trust of the surface point each belongs to.
    """

    points: np.ndarray
    normals: np.ndarray
    weights: np.ndarray
    free_points: np.ndarray
    free_sdf: np.ndarray
    free_weights: np.ndarray


def select_candidates(
    points_ras: np.ndarray,
    normals_ras: np.ndarray,
    confidence: np.ndarray,
    organ: SignedDistance,
    ras_to_unit: Similarity,
    options: CandidateOptions,
    rng: np.random.Generator,
) -> Candidates:
    """Keep the Top-K % surface points and draw free-space points that belong to them.

    Args:
        points_ras, normals_ras: (N, 3) surface points of the given organ.
        confidence: (N,) matching probability of each point, from the alignment.
        organ: the given one.
        ras_to_unit: the alignment.
    """
    kept = confidence >= np.percentile(confidence, 100.0 - options.top_percent)
    return with_free_space(points_ras[kept], normals_ras[kept], confidence[kept], organ, ras_to_unit, options, rng)


def with_free_space(
    points: np.ndarray,
    normals: np.ndarray,
    weights: np.ndarray,
    organ: SignedDistance,
    ras_to_unit: Similarity,
    options: CandidateOptions,
    rng: np.random.Generator,
) -> Candidates:
    """The given surface points, and free-space points drawn around them that share their trust.

    Args:
        points, normals: (N, 3) surface points, RAS mm.
        weights: (N,) trust in [0, 1].
        organ: they lie on.
        ras_to_unit: the alignment.
    """
    owner = rng.integers(len(points), size=options.n_free)
    spread = rng.choice(options.free_spread_mm, size=options.n_free)
    free = points[owner] + rng.normal(size=(options.n_free, 3)) * spread[:, None]
    unit = ras_to_unit.scale
    return Candidates(
        ras_to_unit.apply(points),
        ras_to_unit.apply_to_vectors(normals),
        weights,
        ras_to_unit.apply(free),
        organ.sdf_mm(free) * unit,
        weights[owner],
    )


def draw_surface_points(surface: TriangleSurface, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(n, 3) points and normals, evenly over the given surface, RAS mm."""
    points, normals, _ = surface.sample_points(n, rng)
    return points, normals
