"""The given organ with its doubted parts restored: what TIM takes its candidates from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ..core.geometry import Similarity
from ..core.mesh import TriangleSurface
from ..distance.between_slices import SparseAnnotation
from ..distance.combinators import BlendedField, WithinImage
from ..distance.of_mesh import MeshDistance
from ..distance.surface import DistanceGrid, surface_from_grid
from ..image.band import Image
from ..image.evidence import likeness_to_organ
from ..interaction.candidates import CandidateOptions, Candidates, with_free_space
from ..restoration.model import Restoration, RestorationModel, restore
from ..restoration.network import GIVEN_LIMIT_CELLS
from ..templates.template import OrganTemplate
from .decision.calibration import Calibration, calibration
from .decision.suggestions import TYPICALLY_UNLIKE, Suggestions, find_suggestions
from .truncation import Truncation, expected_within_image


@dataclass(frozen=True, eq=False)
class Healed:
    """The given organ, restored where it is doubted.

    Args:
        field: given and restored distance with the weight of doubt.
        surface: its zero level on the witness's grid.
        restoration: what the network said, or the fitted field.
        suggestions: where it contradicts the given organ; None for a sparse annotation.
        taken: numbers of the suggestions that were put in.
    """

    field: BlendedField
    surface: TriangleSurface
    restoration: Restoration
    suggestions: Suggestions | None = None
    taken: frozenset[int] = frozenset()


class Rule(NamedTuple):
    """The one rule: a suggestion is taken where its probability is above ``least``."""

    calibration: Calibration
    least: float

    @classmethod
    def of(cls, boldness: str) -> Rule:
        """Of a name in the calibration, or a probability as text.

        Raises:
            BadInputError: it is neither, or there is no calibration.
        """
        known = calibration()
        return cls(known, known.least(boldness))


def heal(
    model: RestorationModel,
    template: OrganTemplate,
    grid: DistanceGrid,
    ras_to_unit: Similarity,
    rule: Rule,
    annotation: SparseAnnotation | None = None,
    truncation: Truncation | None = None,
    poses: int = 4,
    unlike: float = TYPICALLY_UNLIKE,
    image: Image | None = None,
) -> Healed:
    """Ask the network about a given organ and put in what it says in the suggestions that are taken.

    Args:
        grid: signed distance of the given organ.
        ras_to_unit: its alignment.
        rule: which suggestions are taken.
        annotation: that ``grid`` was interpolated from; the network is believed everywhere between its slices.
        truncation: where the organ was cut off.
        poses: see :func:`restore`.
        unlike: see :func:`find_suggestions`.
        image: that was segmented; it has its say on each suggestion.
    """
    restoration = restore(model, template, grid, ras_to_unit, poses, annotation or truncation)
    if annotation is not None:
        everywhere = DistanceGrid(np.ones_like(restoration.given.values_mm), restoration.given.geometry)
        return _healed(BlendedField(grid, restoration.restored, everywhere), restoration)
    likeness = None
    if image is not None:
        given_mm, expected_mm = restoration.given.values_mm, restoration.restored.values_mm
        geometry = restoration.restored.geometry
        likeness = likeness_to_organ(image, template.info.organ, given_mm, expected_mm, geometry)
    return heal_by(restoration, grid, rule, truncation, unlike, likeness)


def heal_by(
    restoration: Restoration,
    grid: DistanceGrid,
    rule: Rule,
    truncation: Truncation | None = None,
    unlike: float = TYPICALLY_UNLIKE,
    likeness: np.ndarray | None = None,
) -> Healed:
    """Put in what a witness says in the suggestions that are taken.

    Args:
        restoration: what it said.
        grid, rule, truncation, unlike: see :func:`heal`.
        likeness: see :func:`find_suggestions`.
    """
    suggestions = find_suggestions(restoration, rule.calibration, unlike, likeness)
    return with_taken(grid, restoration, suggestions, suggestions.likelier_than(rule.least), truncation)


def with_taken(
    grid: DistanceGrid,
    restoration: Restoration,
    suggestions: Suggestions,
    taken: frozenset[int],
    truncation: Truncation | None = None,
) -> Healed:
    """The given organ with some of the suggestions.

    Args:
        grid: signed distance of the given organ.
        restoration, suggestions: what the witness said of it.
        taken: numbers of the suggestions.
        truncation: where the organ was cut off.
    """
    within = None
    if truncation is not None and truncation.n_faces:
        as_given = _as_given_within_image(restoration, truncation)
        within = WithinImage(suggestions.weight(taken, as_given), truncation.within_image)
    field = BlendedField(grid, restoration.restored, suggestions.weight(taken), within)
    return replace(_healed(field, restoration), suggestions=suggestions, taken=taken)


def _healed(field: BlendedField, restoration: Restoration) -> Healed:
    weight = field.weight.values_mm
    blended = (1.0 - weight) * restoration.given.values_mm + weight * restoration.restored.values_mm
    surface = surface_from_grid(DistanceGrid(blended.astype(np.float32), restoration.restored.geometry))
    return Healed(field, surface.without_specks(), restoration)


def _as_given_within_image(restoration: Restoration, truncation: Truncation) -> np.ndarray:
    """[z, y, x] bool cells that stay as given in the part of the organ that the image holds."""
    given, restored, cell_mm = restoration.given, restoration.restored, restoration.cell_mm
    expected_mm = expected_within_image(
        given.values_mm,
        restored.values_mm,
        given.geometry,
        truncation,
        reach_mm=GIVEN_LIMIT_CELLS * cell_mm,
        least_mm=calibration().constants.reach_cells * cell_mm,
    )
    return expected_mm != restored.values_mm


def healed_candidates(
    healed: Healed,
    ras_to_unit: Similarity,
    options: CandidateOptions,
    rng: np.random.Generator,
) -> Candidates:
    """Surface and free-space points of the healed organ, each with the trust it deserves.

    Args:
        ras_to_unit: the alignment.
    """
    points, normals, _ = healed.surface.sample_points(options.n_surface, rng)
    guesses = calibration().constants.trust_in_guesses
    weights = 1.0 - (1.0 - guesses) * np.clip(healed.field.weight_at(points), 0.0, 1.0)
    return with_free_space(points, normals, weights, MeshDistance(healed.surface), ras_to_unit, options, rng)
