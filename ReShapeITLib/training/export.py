"""From a finished training run to an OrganTemplate with the distributions that the plausibility check needs."""

from __future__ import annotations

import numpy as np
import torch

from ..core.errors import ReShapeITError
from ..core.mesh import TriangleSurface
from ..core.organs import ORGANS
from ..distance.narrow_band import extract_zero_level
from ..interaction.alignment import AlignmentOptions, align_to_template
from ..templates.template import OrganTemplate, TemplateInfo
from .loop import Trainer

FRAME = (
    "axes along RAS (right, anterior, superior); origin at the centroid of the most central training shape; "
    "unit length such that the median training shape reaches to 0.9"
)
CASE_MEASURES = ("volumes_ml", "scales_mm", "alignment_residuals_mm", "shape_moments")


def export_template(trainer: Trainer, licence: str, source: str, n_points: int = 4000) -> OrganTemplate:
    """Package a trained model.

    Args:
        trainer: after :meth:`Trainer.run`.
        licence: SPDX name that the training labels put on the weights.
        source: data sets of the cases.
        n_points: evenly spread points of the template surface to store.

    Raises:
        ReShapeITError: the template has no surface, so training failed.
    """
    rng = np.random.default_rng(trainer.config.seed)
    if trainer.kept is None:
        points, normals, _ = template_surface(trainer.model).sample_points(n_points, rng)
    else:  # networks and alignments go on with the very same points
        points, normals = trainer.kept.points_unit, trainer.kept.normals
    data, organ = trainer.data, trainer.config.organ
    info = TemplateInfo(
        organ=organ,
        snomed_code=ORGANS[organ].snomed_code if organ in ORGANS else "",
        licence=licence,
        source=source,
        cases=list(data.cases),
        fit_residuals_mm=[reconstruction_residual_mm(trainer, index) for index in range(len(data))],
        frame=FRAME,
        training=trainer.config.as_dict(),
        **_case_measures(trainer, points),
    )
    model = trainer.model.cpu().requires_grad_(False).eval()
    codes = {name: code.detach().cpu() for name, code in trainer.codes.items()}
    return OrganTemplate(info, model, codes["alpha"], codes["beta"], points, normals)


def template_surface(model, resolution: int = 128) -> TriangleSurface:
    """Closed surface of Temp in the unit frame, without specks."""
    device = next(model.parameters()).device

    @torch.no_grad()
    def sdf(points):
        unit = torch.as_tensor(points, dtype=torch.float32, device=device)
        return model.template_distance(unit).cpu().numpy()

    vertices, faces = extract_zero_level(sdf, (np.full(3, -1.15), np.full(3, 1.15)), resolution)
    if not len(faces):
        raise ReShapeITError(
            "The template has no surface, so training failed", "look at the losses in the log", "train.no_surface"
        )
    return TriangleSurface.from_triangles(vertices, faces).without_specks()


@torch.no_grad()
def reconstruction_residual_mm(trainer: Trainer, index: int, n_points: int = 5000) -> float:
    """Mean |F| over surface points of a training case, in its own mm (F is a distance to first order there)."""
    points = _spread(trainer.data.surface(index), n_points)[None]
    deform = trainer.model.deform_layers(
        trainer.codes["alpha"][index : index + 1], trainer.codes["beta"][index : index + 1]
    )
    values = trainer.model.values(deform, points)
    return float(values.abs().mean()) * trainer.data.scales_mm[index]


def _case_measures(trainer: Trainer, points: np.ndarray) -> dict:
    """What the training cases tell about alignment and plausibility; nothing of it depends on Deform, so with a kept
    Temp and its own cases it stays what networks and limits were measured with."""
    data, kept = trainer.data, trainer.kept
    if kept is not None and kept.info.cases == list(data.cases):
        return {name: getattr(kept.info, name) for name in CASE_MEASURES}
    alignments = [_alignment_residual(data, index, points) for index in range(len(data))]
    scales, volumes = ([float(value) for value in values] for values in (data.scales_mm, data.volumes_ml))
    return dict(zip(CASE_MEASURES, (volumes, scales, alignments, data.shape_moments), strict=True))


def _alignment_residual(data, index: int, template_points: np.ndarray) -> float:
    points_mm = _spread(data.surface(index), 2000).double().cpu().numpy() * data.scales_mm[index]
    return float(align_to_template(points_mm, template_points, AlignmentOptions()).mean_residual_mm)


def _spread(points: torch.Tensor, n: int) -> torch.Tensor:
    """About ``n`` of the points, from all parts of the shape (samples may be sorted by triangle)."""
    return points[:: max(1, len(points) // n)]
