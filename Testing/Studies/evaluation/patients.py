"""A patient never stands on both sides: what is evaluated must not have been trained on."""

from __future__ import annotations

from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.restoration.model import RestorationModel
from ReShapeITLib.templates.store import find_template
from ReShapeITLib.templates.template import read_info, read_shape_sha256
from ReShapeITLib.training.prepare import case_name

from .study import Study


def check_patients(study: Study) -> None:
    """Refuse cases that something in the study has learnt from, if the study asks for the check.

    Looked at are the template, the restoration network that belongs to it, in as far as it has learnt this organ, the
    models that methods name, and the study's own training files. A case counts under its name and under that of the
    same patient.

    Raises:
        BadInputError: a case was trained on.
    """
    if not study.training_cases_check:
        return
    for source, trained in training_cases(study).items():
        patients = trained | {study.patient(case) for case in trained}
        for case in study.cases:
            if {case, study.patient(case)} & patients:
                raise BadInputError(
                    f"{source} was trained on the patient of the case {case}, who cannot be evaluated, too; leave the "
                    "case out, or use a template of other cases."
                )


def training_cases(study: Study) -> dict[str, set[str]]:
    """Names of the training cases of each source that methods of the study draw on."""
    file = find_template(study.template or study.organ)
    shape = read_shape_sha256(file)
    sources = {f"The template {file}": set(read_info(file)[0].cases)}
    for network in set(study.restorations(shape).values()) - {None}:
        told = RestorationModel.load(network).info
        organs = [organ for organ, template in told.templates.items() if template == shape]
        sources[f"The restoration network {network}"] = {case for organ in organs for case in told.cases[organ]}
    sources["A method of the study"] = {case_name(path) for path in study.training}
    for entry in study.methods:
        if entry.name in _LEARNT and "model" in entry.options:
            sources[f"The method {entry.label}"] = set(_LEARNT[entry.name](entry.options["model"]))
    return sources


def _cases_of_denoiser(file) -> list[str]:
    from .rivals_denoiser import Denoiser

    return Denoiser.load(file).info.cases


# Methods whose model is a file that tells whom it has learnt from.
_LEARNT = {"deepsdf": lambda file: read_info(file)[0].cases, "denoiser": _cases_of_denoiser}
