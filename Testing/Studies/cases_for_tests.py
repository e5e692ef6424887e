"""Spheres and simple methods that the tests of the evaluation share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.core.labels import LabelVolume
from ReShapeITLib.field.deform_template import DeformTemplateField, FieldOptions
from ReShapeITLib.io.volumes import write_labels
from ReShapeITLib.templates.template import OrganTemplate, TemplateInfo
from Testing.Studies.evaluation.methods import Method, MethodResult
from Testing.Studies.evaluation.study import Study, study_from_dict

SPACING_MM = (2.0, 2.0, 2.0)
RADIUS_MM = 16.0


def sphere(radius_mm: float = RADIUS_MM, shift_mm: float = 0.0, size: int = 26) -> tuple[np.ndarray, ImageGeometry]:
    """(K, J, I) ball about the middle of a grid, moved along i."""
    geometry = ImageGeometry.from_parts((size, size, size), SPACING_MM, (30.0, -10.0, 500.0))
    k, j, i = np.indices(geometry.shape_kji) - 0.5 * (size - 1)
    return (2 * i - shift_mm) ** 2 + (2 * j) ** 2 + (2 * k) ** 2 <= radius_mm**2, geometry


def write_mask(path: Path, mask: np.ndarray, geometry: ImageGeometry) -> None:
    """One label map of zeros and ones."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_labels(LabelVolume.from_array(mask.astype(np.uint8), geometry), path)


def write_cases(folder: Path, names=("a", "b")) -> None:
    """Truths in ``truths``, and in ``nets/CASE`` a network that adds an island and one that is right."""
    for index, name in enumerate(names):
        truth, geometry = sphere(RADIUS_MM - index)
        given = truth.copy()
        given[1:4, 1:4, 1:4] = True
        write_mask(folder / "truths" / f"{name}.nrrd", truth, geometry)
        write_mask(folder / "nets" / name / "island.nii.gz", given, geometry)
        write_mask(folder / "nets" / name / "right.nii.gz", truth, geometry)


def write_template(path: Path, cases=("case0", "case3")) -> Path:
    """A template that has learnt nothing, but says from whom."""
    model = DeformTemplateField(FieldOptions(hidden=4, depth=3, code_size=2, hyper_hidden=4))
    ones = [1.0] * len(cases)
    info = TemplateInfo("test_organ", "0", "CC0-1.0", "nowhere", list(cases), ones, ones, ones, ones, "none")
    codes, points = torch.zeros(len(cases), 2), np.eye(3)
    OrganTemplate(info, model, codes, codes, points, points).save(path)
    return path


def study_values(template: Path, **changes) -> dict:
    """What a study file of ``write_cases`` says."""
    values = {
        "organ": "test_organ",
        "template": str(template),
        "truths": {"folder": "truths", "cases": ["a", "b"]},
        "families": [{"kind": "predictions", "folder": "nets", "names": ["island", "right"]}],
        "methods": ["largest", "failing", "empty"],
    }
    return values | changes


def make_study(folder: Path, template: Path, **changes) -> Study:
    """A study of ``write_cases`` in ``folder``."""
    return study_from_dict(study_values(template, **changes), folder)


def largest(mask: np.ndarray, geometry: ImageGeometry) -> MethodResult:
    """The largest piece."""
    pieces, _ = ndimage.label(mask)
    return MethodResult(pieces == 1 + np.bincount(pieces.ravel())[1:].argmax())


def failing(mask: np.ndarray, geometry: ImageGeometry) -> MethodResult:
    """Refuses everything."""
    raise BadInputError("No, thanks.")


def empty(mask: np.ndarray, geometry: ImageGeometry) -> MethodResult:
    """Leaves nothing."""
    return MethodResult(np.zeros_like(mask))


def simple_methods(study: Study) -> dict[str, Method]:
    """The methods that a study names, from this module."""
    known = {"largest": largest, "failing": failing, "empty": empty}
    return {entry.label: known[entry.name] for entry in study.methods}
