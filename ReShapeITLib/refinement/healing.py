"""The given organ with its doubted parts restored: what TIM takes its candidates from."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from scipy import ndimage

from ..core.errors import BadInputError
from ..core.geometry import ImageGeometry, Similarity
from ..core.mesh import TriangleSurface
from ..distance.between_slices import SparseAnnotation
from ..distance.combinators import BlendedField, WithinImage
from ..distance.of_mesh import MeshDistance
from ..distance.surface import DistanceGrid, surface_from_grid
from ..interaction.candidates import CandidateOptions, Candidates, with_free_space
from ..restoration.confidence import ConfidenceOptions, doubt
from ..restoration.grid import CanonicalGrid
from ..restoration.model import Restoration, RestorationModel, restore
from ..restoration.network import GIVEN_LIMIT_CELLS
from ..templates.template import OrganTemplate
from .truncation import Truncation, expected_within_image

# What a point that the network put in is worth beside one that was seen.
TRUST_IN_GUESSES = 0.2


@dataclass(frozen=True, eq=False)
class Healed:
    """The given organ, restored where it is doubted.

    Args:
        field: given and restored distance with the weight of doubt.
        surface: its zero level on the network's grid.
        restoration: what the network said.
    """

    field: BlendedField
    surface: TriangleSurface
    restoration: Restoration

    @property
    def doubted_mm3(self) -> float:
        """Volume in which the network is believed against the given organ."""
        weight = self.field.weight
        return float((weight.values_mm > 0.5).sum() * weight.geometry.voxel_volume_mm3)


def heal(
    model: RestorationModel,
    template: OrganTemplate,
    grid: DistanceGrid,
    ras_to_unit: Similarity,
    options: ConfidenceOptions,
    annotation: SparseAnnotation | None = None,
    volume_z: float = 0.0,
    truncation: Truncation | None = None,
    poses: int = 4,
    blur_mm: float = 0.0,
) -> Healed:
    """Ask the network about a given organ and put in what it says where the two clearly differ.

    Args:
        grid: signed distance of the given organ.
        ras_to_unit: its alignment.
        options: when the network is believed, see :func:`with_measured_confidence`.
        annotation: that ``grid`` was interpolated from; the network is believed everywhere between its slices.
        volume_z: see :func:`doubt`.
        truncation: where the organ was cut off.
        poses: see :func:`restore`.
        blur_mm: see :func:`doubt`.
    """
    restoration = restore(model, template, grid, ras_to_unit, poses, annotation or truncation)
    if annotation is None:
        weight = doubt(restoration, options, volume_z, restoration.unseen, blur_mm)
    else:
        weight = DistanceGrid(np.ones_like(restoration.given.values_mm), restoration.given.geometry)
    within = None
    if truncation is not None and truncation.n_faces:
        seen = doubt(_within_image(restoration, options, truncation), options, volume_z, restoration.unseen, blur_mm)
        within = WithinImage(seen, truncation.within_image)
    field = BlendedField(grid, restoration.restored, weight, within)
    given, restored = restoration.given.values_mm, restoration.restored.values_mm
    blended = (1.0 - weight.values_mm) * given + weight.values_mm * restored
    surface = surface_from_grid(DistanceGrid(blended.astype(np.float32), restoration.restored.geometry))
    return Healed(field, surface.without_specks(), restoration)


def _within_image(restoration: Restoration, options: ConfidenceOptions, truncation: Truncation) -> Restoration:
    """What the network says of the part of the organ that the image holds."""
    given, restored, cell_mm = restoration.given, restoration.restored, restoration.cell_mm
    expected_mm = expected_within_image(
        given.values_mm,
        restored.values_mm,
        given.geometry,
        truncation,
        reach_mm=GIVEN_LIMIT_CELLS * cell_mm,
        least_mm=options.reach_cells * cell_mm,
    )
    return replace(restoration, restored=DistanceGrid(expected_mm, restored.geometry))


def with_measured_confidence(options: ConfidenceOptions, model: RestorationModel) -> ConfidenceOptions:
    """The options with what the table of networks has for the model in their place.

    Raises:
        BadInputError: the table names an option that there is not.
    """
    unknown = set(model.confidence) - {field.name for field in fields(options)}
    if unknown:
        raise BadInputError(f"The table of networks has unknown confidence options: {', '.join(sorted(unknown))}.")
    return replace(options, **model.confidence)


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
    weights = 1.0 - (1.0 - TRUST_IN_GUESSES) * np.clip(healed.field.weight_at(points), 0.0, 1.0)
    return with_free_space(points, normals, weights, MeshDistance(healed.surface), ras_to_unit, options, rng)


def without_components_out_of_reach(
    mask: np.ndarray, geometry: ImageGeometry, template: OrganTemplate, ras_to_unit: Similarity
) -> np.ndarray:
    """The mask without the components that lie wholly outside the template's surroundings; the largest always stays.

    The network does not see them, and no organ reaches there.
    """
    pieces, n_pieces = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    if n_pieces < 2:
        return mask
    grid = CanonicalGrid.around(template.points_unit)
    where = np.argwhere(mask)
    unit = ras_to_unit.apply(geometry.ijk_to_ras_points(where[:, ::-1]))
    lower = np.array(grid.lower_unit)
    upper = lower + grid.cell_unit * (np.array(grid.shape_zyx[::-1]) - 1)
    near = ((unit > lower) & (unit < upper)).all(axis=1)
    owner = pieces[tuple(where.T)]
    sizes = np.bincount(owner, minlength=n_pieces + 1)
    kept = np.bincount(owner[near], minlength=n_pieces + 1) > 0
    kept[sizes.argmax()] = True
    return mask & kept[pieces]
