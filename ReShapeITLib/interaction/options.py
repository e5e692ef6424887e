"""How alignment by coherent point drift and the fit of the field run."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.errors import BadInputError


@dataclass(frozen=True)
class CpdOptions:
    """How similarity CPD runs.

    Args:
        outlier_weight: w in [0, 1): expected share of target points that belong to no source point.
        outlier_volume: V in cubed target units; None takes the box of the target, so that the result does not depend
            on the unit. The number of target points gives the 1/N of the paper and of pycpd.
        max_iterations: upper bound of EM iterations; 0 gives the posterior at the initial transform and variance.
        tolerance: stop when sigma2 changes by less than this fraction and no source point moves by more than this
            fraction of the target's RMS radius.
        accelerate: leap along the last two steps (SQUAREM) where that lowers the objective; False is the plain EM of
            the paper and of pycpd, which needs two to four times the iterations for the same precision.
        chunk_points: most target points worked on at a time; memory is this times M. None chooses by device.
        estimate_scale: False keeps the initial scale.
        estimate_rotation: False keeps the initial rotation.
        scale_range: least and greatest scale, as factors of the initial scale.
        scale_prior: (mean, sd) of log scale, scale in target units per source unit; None for none.
        rotation_prior_degrees: sd of the rotation angle from the identity; None for none.
        max_rotation_degrees: greatest rotation angle from the identity; None for no limit.
        effective_points: how many independent observations the target is worth against the priors. Neighbouring points
            of two organs deviate together, so thousands of points are a few dozen of observations; None counts all.
        concentration: None keeps pi_m = 1/M. A number c lets the weight of a region of the source follow what is
            matched there: M pi_m = (c + share) / (c + 1), with share the mean P1 of the region over the mean of all;
            so a part without any target costs little, and the source need not shrink to use its points up.
        weight_regions: number of regions with a weight of their own.
        initial_sigma2: first variance in squared target units; None takes the mean over all pairs.
        dtype: "float32" or "float64" for P; sums over chunks are always float64.
    """

    outlier_weight: float = 0.1
    outlier_volume: float | None = None
    max_iterations: int = 100
    tolerance: float = 1e-4
    accelerate: bool = True
    chunk_points: int | None = None
    estimate_scale: bool = True
    estimate_rotation: bool = True
    scale_range: tuple[float, float] = (0.5, 2.0)
    scale_prior: tuple[float, float] | None = None
    rotation_prior_degrees: float | None = None
    max_rotation_degrees: float | None = None
    effective_points: float | None = None
    concentration: float | None = None
    weight_regions: int = 32
    initial_sigma2: float | None = None
    dtype: str = "float32"

    def __post_init__(self):
        if not 0 <= self.outlier_weight < 1:
            raise BadInputError(
                "The outlier weight must be at least 0 and below 1, not {weight}",
                "leave it out",
                "alignment.outliers",
                weight=self.outlier_weight,
            )
        if not 0 < self.scale_range[0] <= self.scale_range[1]:
            raise BadInputError(
                "The scale range must be two rising positive numbers, not {scale_range}",
                "leave it out",
                "alignment.scale_range",
                scale_range=self.scale_range,
            )
        if self.dtype not in ("float32", "float64"):
            raise BadInputError(
                "The CPD dtype must be float32 or float64, not {dtype!r}",
                "choose one of these",
                "alignment.dtype",
                dtype=self.dtype,
            )


@dataclass(frozen=True)
class FitOptions:
    """The two stages of the fit.

    Args:
        code_steps, weight_steps: optimisation steps of each stage.
        surface_points, free_points: points of a step.
        code_learning_rate, weight_learning_rate: peak Adam rates, both decay by a cosine.
        pose_learning_rate: peak rate of a similarity that is fitted together with the codes, because an alignment of
            points to the mean shape is not the best one for this patient's shape; 0 keeps the alignment.
        sdf, normal, eikonal: weights of the terms of L_sdf, relative to each other (Eq. 4).
        code_prior: weight of the codes' Mahalanobis term, in the place of the plain norms of Eq. 8.
        weight_prior: pull of theta back to H(beta).
        outside: weight, relative to ``sdf``, of staying outside at points far from both the candidates and the
            template; the field of unseen codes is free to enclose pieces there otherwise.
        far_mm: what counts as far.
        smoothness: weight of L_vec (Eq. 6) while theta is fitted.
        robust_mm: residual beyond which a point loses its say (Geman-McClure), at the start and at the end of the
            code stage; 0 switches it off, as in the paper.
        seed: of the draws.
    """

    code_steps: int = 60
    weight_steps: int = 80
    surface_points: int = 350
    free_points: int = 150
    code_learning_rate: float = 1.5e-2
    weight_learning_rate: float = 3e-4
    pose_learning_rate: float = 0.0
    sdf: float = 3e3
    normal: float = 1e2
    eikonal: float = 5e1
    code_prior: float = 1.0
    weight_prior: float = 1e2
    outside: float = 1.0
    far_mm: float = 15.0
    smoothness: float = 1.0
    robust_mm: tuple[float, float] = (15.0, 5.0)
    seed: int = 0
