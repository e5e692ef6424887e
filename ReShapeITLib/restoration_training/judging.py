"""Suggestions about organs whose truth is known, for the calibration."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..core.geometry import ImageGeometry
from ..core.progress import Progress
from ..distance.surface import signed_distance_grid
from ..image.band import Image
from ..refinement.aligned import align
from ..refinement.decision.calibration import Coefficients, calibration
from ..refinement.decision.suggestions import KINDS
from ..refinement.expected import expect
from ..refinement.given import given_organ
from ..refinement.healing import Healed, Rule
from ..refinement.options import REFINE_PRESETS, RefineOptions
from ..refinement.restored import restore_organ
from ..restoration.model import WITNESSES, RestorationModel
from ..templates.template import OrganTemplate
from .calibrating import Judged

_NOTHING_KNOWN = Coefficients(dict.fromkeys(KINDS, 0.0), {})


def judged_suggestions(
    patient: str,
    given: tuple[np.ndarray, ImageGeometry],
    truth: tuple[np.ndarray, ImageGeometry],
    template: OrganTemplate,
    model: RestorationModel | None,
    options: RefineOptions | None = None,
    image: Image | None = None,
) -> list[Judged]:
    """Every suggestion that a refinement would have about a given organ, with how much of it is right.

    A network is asked once, in the frame that the given organ alone leads to.

    Args:
        patient: what stands on one side when patients are left out.
        given, truth: (K, J, I) bool mask and geometry; the grids may differ.
        template, model: of the organ; None for the suggestions of the fitted field.
        options: the standard preset where None.
        image: that was segmented; the network's suggestions then have its evidence.

    Raises:
        BadInputError: a mask is empty or too small.
    """
    options = replace(options or REFINE_PRESETS["standard"], restoration_passes=1)
    rule = Rule(replace(calibration(), witnesses=dict.fromkeys(WITNESSES, _NOTHING_KNOWN)), 1.0)  # takes nothing
    aligned = align(given_organ(*given, options), template, options, force=True)
    restored = restore_organ(aligned, template, model, options, rule, image)
    return _judged(patient, expect(restored, template, options, Progress("none"), rule).healed, truth)


def _judged(patient: str, healed: Healed, truth: tuple[np.ndarray, ImageGeometry]) -> list[Judged]:
    found, answer = healed.suggestions, healed.restoration
    cells_ras = found.geometry.ijk_to_ras_points(np.argwhere(found.regions > 0)[:, ::-1])
    true = np.zeros(found.regions.shape, dtype=bool)
    true[found.regions > 0] = signed_distance_grid(*truth).sdf_mm(cells_ras) < 0
    restored = answer.restored.values_mm < 0
    changed = restored != (answer.given.values_mm < 0)
    judged = []
    for entry in found.entries:
        cells = (found.regions == entry.number) & changed
        right = float((restored[cells] == true[cells]).mean())
        judged.append(Judged(patient, entry.kind, entry.evidence, right, int(cells.sum())))
    return judged
