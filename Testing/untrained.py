"""A template file's worth of random weights: sound as a file, made in no time, of no use for refining."""

from __future__ import annotations

import torch

from ReShapeITLib.field.deform_template import DeformTemplateField, FieldOptions
from ReShapeITLib.templates.template import OrganTemplate, TemplateInfo


def untrained_template(organ: str = "test_organ") -> OrganTemplate:
    """Two cases, a small field, points on the unit sphere."""
    torch.manual_seed(0)
    model = DeformTemplateField(FieldOptions(hidden=16, depth=3, code_size=4, hyper_hidden=8))
    points = torch.nn.functional.normalize(torch.randn(50, 3), dim=1).double().numpy()
    info = TemplateInfo(
        organ=organ,
        snomed_code="",
        licence="CC0-1.0",
        source="random numbers",
        cases=["a", "b"],
        volumes_ml=[100.0, 120.0],
        scales_mm=[40.0, 42.0],
        alignment_residuals_mm=[1.0, 1.2],
        fit_residuals_mm=[0.5, 0.6],
        frame="none",
    )
    return OrganTemplate(info, model.requires_grad_(False), torch.randn(2, 4), torch.randn(2, 4), points, points)
