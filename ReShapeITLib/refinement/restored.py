"""The third stage: what the restoration network makes of the aligned organ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from ..core.geometry import ImageGeometry, Similarity
from ..distance.smooth import smooth_distance_grid
from ..distance.surface import DistanceGrid, surface_from_grid
from ..image.band import Image
from ..interaction.alignment import Alignment, align_to_template
from ..interaction.candidates import CandidateOptions, Candidates, draw_surface_points, select_candidates
from ..restoration.detail import Detail, expected_detail
from ..restoration.model import RestorationModel
from ..templates.template import OrganTemplate
from .aligned import Aligned, alignment_options
from .components import without_components_out_of_reach
from .given import Given
from .healing import Healed, Rule, heal, healed_candidates
from .options import RefineOptions
from .random_stream import RandomStream
from .truncation import Truncation, find_truncation, own_flat_shares

# Candidates from an alignment, options and a generator.
CandidatesOf = Callable[[Similarity, CandidateOptions, np.random.Generator], Candidates]


@dataclass(frozen=True, eq=False)
class Restored:
    """The aligned organ beside the one that the network expects.

    Args:
        aligned: the organ as it was given.
        given: the same with the detail that coarse voxels hide and without components out of reach.
        alignment: of the restored organ; of the given one without a network.
        healed: the given organ, restored where it is doubted; None without a network.
        truncation: where the organ was cut off; None where it was not.
        stream: where the random numbers of the next stage begin.
    """

    aligned: Aligned
    given: Given
    alignment: Alignment
    healed: Healed | None
    truncation: Truncation | None
    stream: RandomStream

    @property
    def given_candidates(self) -> CandidatesOf:
        """Draws what TIM fits the field to: points of the given organ by their matching probability."""
        aligned = self.aligned
        confidence = aligned.alignment.confidence
        return partial(select_candidates, aligned.points_ras, aligned.normals_ras, confidence, self.given.grid)

    @property
    def candidates(self) -> CandidatesOf:
        """The same of the restored organ, where there is one."""
        return partial(healed_candidates, self.healed) if self.healed is not None else self.given_candidates


def restore_organ(
    aligned: Aligned,
    template: OrganTemplate,
    restoration: RestorationModel | None,
    options: RefineOptions,
    rule: Rule | None = None,
    image: Image | None = None,
) -> Restored:
    """Ask the network, if there is one, and align the template to the organ that it restored.

    Args:
        rule: which suggestions are taken; None is that of the options.
        image: that was segmented; it has its say on what the network suggests.
    """
    if restoration is None:
        given = within_reach(aligned.given, template, aligned.alignment.ras_to_unit)
        return Restored(aligned, given, aligned.alignment, None, truncation_of(given, template), aligned.stream)
    rng, alignment = aligned.stream.generator(), aligned.alignment
    given = with_detail(aligned.given, restoration, template, alignment.ras_to_unit, options.restoration_poses)
    given = within_reach(given, template, alignment.ras_to_unit)
    truncation = truncation_of(given, template)
    rule = rule or Rule.of(options.boldness)
    for left in reversed(range(max(1, options.restoration_passes))):
        healed = heal(
            restoration,
            template,
            given.grid,
            alignment.ras_to_unit,
            rule=rule,
            annotation=given.annotation,
            truncation=truncation,
            poses=options.restoration_poses,
            unlike=aligned.plausibility.shape_distance,
            image=None if left else image,  # before the last pass only the alignment follows
        )
        points, _ = draw_surface_points(healed.surface, options.candidates.n_surface, rng)
        alignment = align_to_template(points, template.points_unit, alignment_options(options, template))
    return Restored(aligned, given, alignment, healed, truncation, RandomStream.after(rng))


def with_detail(
    given: Given, restoration: RestorationModel, template: OrganTemplate, ras_to_unit: Similarity, poses: int
) -> Given:
    """The organ with what coarse voxels hide, where its mask was resampled and there is a network for that."""
    if not given.blur_mm or restoration.detail is None:
        return given
    spacing_mm = given.geometry.spacing_mm
    detail = expected_detail(restoration.detail, template, given.grid, ras_to_unit, spacing_mm, poses)
    if detail is None:
        return given
    grid = detail.added_to(given.grid)
    distance_of = partial(_detailed, detail)
    return replace(given, distance_of=distance_of, grid=grid, surface=surface_from_grid(grid), detail=detail)


def within_reach(given: Given, template: OrganTemplate, ras_to_unit: Similarity) -> Given:
    """The organ without the components that no organ of the template's kind reaches; a sparse annotation as it is."""
    if given.annotation is not None:
        return given
    kept = without_components_out_of_reach(given.mask, given.geometry, template, ras_to_unit)
    if kept.sum() == given.mask.sum():
        return given
    return replace(given, kept=kept, grid=given.distance_of(kept, given.geometry))


def truncation_of(given: Given, template: OrganTemplate) -> Truncation | None:
    """Where the organ was cut off; None where it was not, and for a sparse annotation."""
    if given.annotation is not None:
        return None
    return find_truncation(given.image_mask, given.image, given.surface, own_flat_shares(template))


def _detailed(detail: Detail, mask: np.ndarray, geometry: ImageGeometry) -> DistanceGrid:
    return detail.added_to(smooth_distance_grid(mask, geometry))
