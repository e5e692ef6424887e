"""The methods that fit a field: the paper's TIM to the letter, an auto-decoder, and this project's refinement."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import is_dataclass, replace

import numpy as np
import torch

from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.core.mesh import TriangleSurface
from ReShapeITLib.distance.narrow_band import extract_zero_level, label_mask
from ReShapeITLib.distance.surface import clean_mask, signed_distance_grid, surface_from_grid
from ReShapeITLib.field.deform_template import DOMAIN_RADIUS_UNIT
from ReShapeITLib.interaction.alignment import align_to_template
from ReShapeITLib.interaction.candidates import CandidateOptions, Candidates, draw_surface_points, select_candidates
from ReShapeITLib.interaction.fitting import FittedField, fit_field
from ReShapeITLib.interaction.options import FitOptions
from ReShapeITLib.refinement.aligned import alignment_with_scale_prior
from ReShapeITLib.refinement.options import REFINE_PRESETS, RefineOptions
from ReShapeITLib.refinement.refine import refine
from ReShapeITLib.restoration.model import RestorationModel
from ReShapeITLib.templates.template import OrganTemplate

# Codes start about as large as the paper draws them, N(0, 0.01^2).
_PLAIN_CODE_SD = 1e-3
PAPER_OPTIONS = RefineOptions(
    candidates=CandidateOptions(top_percent=25.0),
    fit=FitOptions(robust_mm=(0.0, 0.0), outside=0.0, smoothness=0.0, weight_prior=0.0),
)
# DeepSDF (Park et al., CVPR 2019) completes a shape by its code alone, from all that is given.
DEEPSDF_OPTIONS = replace(
    PAPER_OPTIONS, candidates=CandidateOptions(), fit=replace(PAPER_OPTIONS.fit, code_steps=250, weight_steps=0)
)


def refined(
    mask: np.ndarray,
    geometry: ImageGeometry,
    template: OrganTemplate,
    options: RefineOptions,
    restoration: RestorationModel | None,
    keep: bool = True,
) -> tuple[np.ndarray, TriangleSurface]:
    """Voxels and surface of :func:`refine`, whether or not the input looks like the organ.

    Args:
        keep: False takes the fitted field everywhere, also where the given organ agrees with it (an ablation).

    Raises:
        BadInputError: the mask is empty or too small, or nothing is left of it.
    """
    shape = refine(mask, geometry, template, options, force=True, restoration=restoration)
    if not keep:
        return fitted_shape(shape.fitted, geometry, options.surface_cell_mm)
    return shape.mask(geometry), shape.bare_surface(options.surface_cell_mm)


def paper_tim(
    mask: np.ndarray,
    geometry: ImageGeometry,
    template: OrganTemplate,
    options: RefineOptions = PAPER_OPTIONS,
    weighted: bool = False,
) -> tuple[np.ndarray, TriangleSurface]:
    """Section 3.2 as printed: the Top-25 % of the points by matching probability, Eq. 8, the field alone.

    All candidates count alike, codes are held by their plain norms with the weight that the template was trained
    with, and nothing of the given organ is kept. Two things differ from the paper: the alignment is this library's, so
    that the comparison is one of the interaction, and H(beta) is fine-tuned through its output, the weights of Deform.

    Args:
        weighted: candidates count by their matching probability instead (an ablation).

    Raises:
        BadInputError: the mask is empty or too small, or the fitted field is empty.
    """
    rng = np.random.default_rng(options.seed)
    cleaned, _ = clean_mask(mask, geometry, options.surface)
    grid = signed_distance_grid(cleaned, geometry, options.surface)
    points, normals = draw_surface_points(surface_from_grid(grid), options.candidates.n_surface, rng)
    alignment = align_to_template(points, template.points_unit, alignment_with_scale_prior(options.alignment, template))
    candidates = select_candidates(
        points, normals, alignment.confidence, grid, alignment.ras_to_unit, options.candidates, rng
    )
    penalty = float(template.info.training["weights"]["alpha"])
    fit = replace(options.fit, seed=options.seed, code_prior=2.0 * penalty * _PLAIN_CODE_SD**2)
    candidates = candidates if weighted else _all_alike(candidates)
    fitted = fit_field(_with_plain_norm(template), candidates, alignment.ras_to_unit, fit)
    return fitted_shape(fitted, geometry, options.surface_cell_mm)


def fitted_shape(fitted: FittedField, geometry: ImageGeometry, cell_mm: float) -> tuple[np.ndarray, TriangleSurface]:
    """(K, J, I) bool voxels and surface of a fitted field alone.

    Raises:
        BadInputError: the field encloses nothing.
    """
    corners = DOMAIN_RADIUS_UNIT * np.array(np.meshgrid(*[(-1, 1)] * 3)).reshape(3, -1).T
    return field_shape(fitted.sdf_mm, fitted.ras_to_unit.inverse().apply(corners), geometry, cell_mm)


def field_shape(
    sdf_mm: Callable[[np.ndarray], np.ndarray], corners_ras: np.ndarray, geometry: ImageGeometry, cell_mm: float
) -> tuple[np.ndarray, TriangleSurface]:
    """(K, J, I) bool voxels and surface of a field.

    Args:
        sdf_mm: the field, callable from (N, 3) RAS points to (N,) mm.
        corners_ras: (8, 3) corners of a box, however it lies, that holds the organ.
        geometry: of the voxels.
        cell_mm: of the surface.

    Raises:
        BadInputError: the field encloses nothing.
    """
    bounds = corners_ras.min(axis=0), corners_ras.max(axis=0)
    surface = TriangleSurface.from_triangles(*extract_zero_level(sdf_mm, bounds, cell_size=cell_mm))
    return label_mask(sdf_mm, geometry, bounds), surface


def changed_options(changes: dict, options: RefineOptions | None = None):
    """Options with some fields replaced; ``{"fit": {"code_steps": 50}}`` reaches into nested ones.

    ``preset`` names the options to start from where none are given.

    Raises:
        BadInputError: an unknown preset or field.
    """
    changes = dict(changes)
    if options is None:
        preset = changes.pop("preset", "standard")
        if preset not in REFINE_PRESETS:
            raise BadInputError(f"There is no preset '{preset}'; choose one of {', '.join(REFINE_PRESETS)}.")
        options = REFINE_PRESETS[preset]
    known = options.__dataclass_fields__
    for name, value in changes.items():
        if name not in known:
            raise BadInputError(f"There is no option '{name}'; choose among {', '.join(known)}.")
        if isinstance(value, dict) and is_dataclass(getattr(options, name)):
            changes[name] = changed_options(value, getattr(options, name))
        elif isinstance(value, list):
            changes[name] = tuple(value)
    return replace(options, **changes)


def _all_alike(candidates: Candidates) -> Candidates:
    """The candidates with full weight each."""
    return replace(
        candidates, weights=np.ones_like(candidates.weights), free_weights=np.ones_like(candidates.free_weights)
    )


def _with_plain_norm(template: OrganTemplate) -> OrganTemplate:
    """The template with codes whose Gaussian is a sphere around zero, so that the code prior is the plain norm.

    One code on either side of zero along each axis has exactly the covariance ``_PLAIN_CODE_SD``^2 times identity.
    """
    size = template.alpha.shape[1]
    axes = torch.eye(2 * size, device=template.alpha.device) * _PLAIN_CODE_SD * float(np.sqrt((4 * size - 1) / 2))
    codes = torch.cat([axes, -axes])
    return replace(template, alpha=codes[:, :size].contiguous(), beta=codes[:, size:].contiguous())
