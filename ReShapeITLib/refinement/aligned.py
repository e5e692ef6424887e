"""The second stage: the given organ aligned to the template and compared with the training cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..core.errors import ImplausibleError
from ..distance.drawn_planes import looks_sparse
from ..interaction.alignment import Alignment, AlignmentOptions, align_to_template
from ..interaction.candidates import draw_surface_points
from ..templates.template import OrganTemplate, TemplateInfo
from .given import Given
from .options import RefineOptions
from .plausibility import Plausibility, check_plausibility
from .random_stream import RandomStream
from .truncation import faces_that_cut


@dataclass(frozen=True, eq=False)
class Aligned:
    """The given organ in the template's frame.

    Args:
        given: the organ.
        points_ras, normals_ras: (N, 3) points of its surface that were aligned, RAS mm.
        alignment: of these points.
        plausibility: whether the organ looks like the template's.
        stream: where the random numbers of the next stage begin.
    """

    given: Given
    points_ras: np.ndarray
    normals_ras: np.ndarray
    alignment: Alignment
    plausibility: Plausibility
    stream: RandomStream


def align(
    given: Given,
    template: OrganTemplate,
    options: RefineOptions,
    force: bool = False,
    others: Sequence[TemplateInfo] = (),
) -> Aligned:
    """Align the given organ and check that it is one of the template's.

    Args:
        force: go on although it does not look like one.
        others: templates of organs that it might be instead.

    Raises:
        BadInputError: the surface is too small to align, or the backend is not installed.
        ImplausibleError: it looks unlike the template's organ, or was drawn on a few slices only, and ``force`` is
            not set.
    """
    if not force:
        _offer_sparse(given)
    rng = RandomStream.seeded(options.seed).generator()
    points, normals = draw_surface_points(given.surface, options.candidates.n_surface, rng)
    alignment = align_to_template(points, template.points_unit, alignment_options(options, template))
    cut_off = given.annotation is None and any(faces_that_cut(given.image_mask, given.image))
    plausibility = check_plausibility(template.info, given.surface, alignment, force, others, cut_off)
    return Aligned(given, points, normals, alignment, plausibility, RandomStream.after(rng))


def _offer_sparse(given: Given) -> None:
    """Refuse a sparse annotation that was not said to be one: as a whole organ it would stay in slices."""
    if given.annotation is None and looks_sparse(given.image_mask):
        raise ImplausibleError(
            "{subject} was drawn on a few slices only, and nothing lies between them",
            "complete it with --sparse, or use --force to refine it as it is",
            "sparse.not_asked",
            subject="the input",
        )


def alignment_options(options: RefineOptions, template: OrganTemplate) -> AlignmentOptions:
    """Of a refinement with a template: with the chosen backend and the prior on the scale."""
    return replace(alignment_with_scale_prior(options.alignment, template), backend=options.alignment_backend)


def alignment_with_scale_prior(options: AlignmentOptions, template: OrganTemplate) -> AlignmentOptions:
    """The training cases say how large the organ is; without this the template shrinks into a truncated one."""
    log_scales = np.log(template.info.scales_mm)
    spread = max(0.05, float(log_scales.std()))
    return replace(options, expected_scale_mm=float(np.exp(log_scales.mean())), scale_log_sd=spread)
