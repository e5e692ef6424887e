"""The numbers of one case, from its summary where there is one, else from its voxels; and the order of review."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..job.report import voxel_changes
from .cases import ReviewCase

if TYPE_CHECKING:
    from ..core.mesh import TriangleSurface
    from ..metrics.masks import MaskMetrics
    from .voxels import CaseVoxels

NSD_TOLERANCE_MM = 2.0


@dataclass(frozen=True)
class Measures:
    """What a case comes to; None where it is not known.

    Args:
        volume_before_ml, volume_after_ml, added_ml, removed_ml: of the voxels.
        dsc_to_input: Dice of output and input voxels, 0 to 1.
        mean_move_mm: mean distance that the surface moved, by area.
        max_out_mm, max_in_mm: furthest move outwards and inwards of the surface that is left.
        furthest_voxel_mm: from the other organ's voxels to the one added or removed that lies furthest from them;
            unlike the surface's moves it knows removed pieces.
        truth_before, truth_after: input and output against the truth.
        problems: why the input may not be the organ.
    """

    volume_before_ml: float | None = None
    volume_after_ml: float | None = None
    added_ml: float | None = None
    removed_ml: float | None = None
    dsc_to_input: float | None = None
    mean_move_mm: float | None = None
    max_out_mm: float | None = None
    max_in_mm: float | None = None
    furthest_voxel_mm: float | None = None
    truth_before: MaskMetrics | None = None
    truth_after: MaskMetrics | None = None
    problems: tuple[str, ...] = ()


def number(entry: Mapping, *keys: str) -> float | None:
    """The finite number under nested keys of plain values; None where there is none."""
    value = entry
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < 1e300 and math.isfinite(value) else None


def told(case: ReviewCase) -> Measures:
    """What the summary says."""
    organ = case.organ
    problems = organ.get("plausibility", {}).get("problems", []) if isinstance(organ.get("plausibility"), dict) else []
    return Measures(
        **{
            name: number(organ, name)
            for name in ("volume_before_ml", "volume_after_ml", "added_ml", "removed_ml", "dsc_to_input")
        },
        mean_move_mm=number(organ, "signed_change_mm", "mean_abs"),
        max_out_mm=number(organ, "signed_change_mm", "max_out"),
        max_in_mm=number(organ, "signed_change_mm", "max_in"),
        problems=tuple(str(text) for text in problems) if isinstance(problems, list) else (),
    )


def measured(
    case: ReviewCase, voxels: CaseVoxels, surface: TriangleSurface, change_mm: np.ndarray, depth_mm: np.ndarray
) -> Measures:
    """What the voxels say, and of what they do not tell the summary.

    Args:
        case, voxels: the organ.
        surface: of the result; change_mm: (V,) how far its vertices moved outwards.
        depth_mm: see ``voxels.change_depth_mm``.
    """
    from ..metrics.masks import compare_masks

    known = told(case)
    if known.mean_move_mm is None:
        moves = _moves(surface, change_mm)
    else:
        moves = {name: getattr(known, name) for name in ("mean_move_mm", "max_out_mm", "max_in_mm")}
    against = {}
    if voxels.truth is not None:
        against = {
            f"truth_{name}": compare_masks(voxels.truth, mask, voxels.geometry, NSD_TOLERANCE_MM)
            for name, mask in (("before", voxels.before), ("after", voxels.after))
        }
    changes = voxel_changes(voxels.before, voxels.after, voxels.geometry)
    furthest = float(depth_mm.max())
    return Measures(**changes, **moves, **against, furthest_voxel_mm=furthest, problems=known.problems)


def worst_first(status: str, measures: Measures) -> tuple:
    """Key for sorting: failed cases, those with problems, then by agreement with the truth, else with the input."""
    agreement = measures.truth_after.dsc if measures.truth_after else measures.dsc_to_input
    rank = {"failed": 0, "check": 1}.get(status, 2)
    return rank, -1.0 if agreement is None else agreement


def _moves(surface: TriangleSurface, change_mm: np.ndarray) -> dict[str, float]:
    areas = np.zeros(len(change_mm))
    for corner in range(3):
        areas += np.bincount(surface.faces[:, corner], surface.face_areas_mm2 / 3.0, minlength=len(change_mm))
    return {
        "mean_move_mm": float(areas @ np.abs(change_mm) / areas.sum()),
        "max_out_mm": float(max(change_mm.max(), 0.0)),
        "max_in_mm": float(max(-change_mm.min(), 0.0)),
    }
