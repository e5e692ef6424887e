"""Does the given organ look like the template's organ at all? Asked before any fit, against the training cases."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .errors import ImplausibleError
from .interaction.alignment import Alignment
from .template import TemplateInfo

VOLUME_LIMIT_SD = 4.0
RESIDUAL_LIMIT_SD = 6.0


@dataclass(frozen=True)
class Plausibility:
    """How the given organ compares with the training cases.

    Args:
        volume_ml: of the given organ.
        volume_z: standard deviations of its log-volume from the training mean.
        alignment_residual_mm: mean distance to the aligned template.
        alignment_z: standard deviations of that residual from the training mean.
        problems: one sentence for each limit that is passed.
    """

    volume_ml: float
    volume_z: float
    alignment_residual_mm: float
    alignment_z: float
    problems: tuple[str, ...]


def check_plausibility(info: TemplateInfo, volume_ml: float, alignment: Alignment, force: bool) -> Plausibility:
    """Compare volume and alignment residual with the training distributions.

    Args:
        info: of the template.
        volume_ml: volume of the given organ.
        alignment: of the given organ to the template.
        force: report problems instead of raising.

    Raises:
        ImplausibleError: a limit is passed and ``force`` is not set.
    """
    # Few training cases underestimate the spread of real patients, hence the floors.
    volume_z = _z_score(np.log(volume_ml), np.log(info.volumes_ml), least_sd=0.25)
    residual = alignment.mean_residual_mm
    residual_z = _z_score(residual, np.array(info.alignment_residuals_mm), least_sd=0.5)
    problems = []
    if abs(volume_z) > VOLUME_LIMIT_SD:
        low, high = min(info.volumes_ml), max(info.volumes_ml)
        problems.append(f"its volume is {volume_ml:.0f} mL, the training cases have {low:.0f} to {high:.0f} mL")
    if residual_z > RESIDUAL_LIMIT_SD:
        problems.append(
            f"it lies {residual:.1f} mm from the aligned template on average, "
            f"the training cases at most {max(info.alignment_residuals_mm):.1f} mm"
        )
    if problems and not force:
        raise ImplausibleError(
            f"The input does not look like {info.organ}: {' and '.join(problems)}; "
            "check label and template, or use --force to refine it anyway."
        )
    return Plausibility(volume_ml, volume_z, residual, residual_z, tuple(problems))


def _z_score(value: float, population: np.ndarray, least_sd: float) -> float:
    return float((value - population.mean()) / max(population.std(), least_sd))
