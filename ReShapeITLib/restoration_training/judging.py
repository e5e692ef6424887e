"""Suggestions about organs whose truth is known, for the calibration."""

from __future__ import annotations

import numpy as np

from ..core.geometry import ImageGeometry
from ..distance.surface import signed_distance_grid
from ..refinement.aligned import align
from ..refinement.decision.calibration import Calibration
from ..refinement.decision.suggestions import KINDS, find_suggestions
from ..refinement.given import given_organ
from ..refinement.options import REFINE_PRESETS, RefineOptions
from ..refinement.restored import truncation_of, with_detail, within_reach
from ..restoration.model import RestorationModel, restore
from ..templates.template import OrganTemplate
from .calibrating import EVIDENCE, Judged

_UNDECIDED = Calibration(dict.fromkeys(KINDS, 0.0), dict.fromkeys(EVIDENCE, 0.0))


def judged_suggestions(
    patient: str,
    given: tuple[np.ndarray, ImageGeometry],
    truth: tuple[np.ndarray, ImageGeometry],
    template: OrganTemplate,
    model: RestorationModel,
    options: RefineOptions | None = None,
) -> list[Judged]:
    """Every suggestion that a refinement would have about a given organ, with how much of it is right.

    The network is asked once, in the frame that the given organ alone leads to.

    Args:
        patient: what stands on one side when patients are left out.
        given, truth: (K, J, I) bool mask and geometry; the grids may differ.
        template, model: of the organ.
        options: the standard preset where None.

    Raises:
        BadInputError: a mask is empty or too small.
    """
    options = options or REFINE_PRESETS["standard"]
    organ = given_organ(*given, options)
    aligned = align(organ, template, options, force=True)
    frame = aligned.alignment.ras_to_unit
    organ = within_reach(with_detail(organ, model, template, frame, options.restoration_poses), template, frame)
    answer = restore(model, template, organ.grid, frame, options.restoration_poses, truncation_of(organ, template))
    found = find_suggestions(answer, _UNDECIDED, aligned.plausibility.shape_distance)
    cells_ras = answer.restored.geometry.ijk_to_ras_points(np.argwhere(found.regions > 0)[:, ::-1])
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
