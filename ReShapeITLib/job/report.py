"""What a refinement changed and how much it can be trusted, as a JSON file."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import __version__
from ..core.errors import NON_COMMERCIAL, ImplausibleError, ReShapeITError
from ..core.geometry import ImageGeometry
from ..io.atomic import atomic_path

if TYPE_CHECKING:
    from ..core.mesh import TriangleSurface
    from ..core.progress import Stages
    from ..refinement.refined import RefinedShape

NOTICE = "Research software, not a medical device."
REFINED, ABSENT, IMPLAUSIBLE, FAILED = "refined", "absent", "implausible", "failed"
NOT_REFINED = "organ.not_refined"  # code of the notice about such an organ
NO_VOXELS, NO_SEGMENT = "label.empty", "label.unknown"  # codes of errors about an absent organ


@dataclass(frozen=True)
class OrganReport:
    """One refined label.

    Args:
        label: number, id or name as the user gave it.
        organ: name in the template.
        template: file name; template_sha256: its checksum; licence: of its weights.
        non_commercial: the licence forbids commercial use.
        restoration: file name of the restoration network; None where none was used. restoration_licence: of its
            weights.
        detail: file name of the network that told what coarse voxels hide; None where none was asked.
            detail_licence: of its weights.
        device: that computed; device_reason: why it was chosen.
        volume_before_ml, volume_after_ml, added_ml, removed_ml: of the voxels.
        dsc_to_input: Dice of output and input voxels, 0 to 1.
        signed_change_mm: how far the surface moved, area-weighted: mean_abs, p95_abs, max_out, max_in.
        field_share: share of the surface where it is not the given one, 0 to 1.
        islands_removed: separate components of the given voxels of which nothing is left.
        holes_filled: of the given mask, before anything else.
        alignment: mm_per_unit, rotation_degrees, mean_residual_mm.
        plausibility: volume_z, alignment_z, shape_distance, closest_organ, code_energy (about 1 for a typical
            patient), problems.
        seconds: by stage.
        status: always "refined".
        removed_pieces, added_pieces: connected pieces of at least 1 mL that went or came, the largest first: volume_ml
            and centre_ras (mm).
        image: what the image said, see :class:`~ReShapeITLib.image.witness.ImageSaid`; None where none was given.
    """

    label: int | str
    organ: str
    template: str
    template_sha256: str
    licence: str
    non_commercial: bool
    restoration: str | None
    restoration_licence: str | None
    detail: str | None
    detail_licence: str | None
    device: str
    device_reason: str
    volume_before_ml: float
    volume_after_ml: float
    added_ml: float
    removed_ml: float
    dsc_to_input: float
    signed_change_mm: dict[str, float] | None
    field_share: float | None
    islands_removed: int
    holes_filled: int
    alignment: dict[str, float]
    plausibility: dict
    seconds: dict[str, float]
    status: str = REFINED
    removed_pieces: Sequence[dict] = ()
    added_pieces: Sequence[dict] = ()
    image: dict | None = None
    suggestions: Sequence[dict] = ()

    def summary(self) -> str:
        """One line for people."""
        pieces = [f"-{piece['volume_ml']:.1f}" for piece in self.removed_pieces]
        pieces += [f"+{piece['volume_ml']:.1f}" for piece in self.added_pieces]
        told = f", in pieces of {' '.join(pieces)} mL" if pieces else ""
        return (
            f"{self.organ} (label {self.label}): {self.volume_before_ml:.1f} mL -> {self.volume_after_ml:.1f} mL, "
            f"+{self.added_ml:.1f} -{self.removed_ml:.1f} mL{told}, Dice to the input {self.dsc_to_input:.4f}"
        )


@dataclass(frozen=True)
class OrganNotRefined:
    """One label that was asked for and stays as it is.

    Args:
        label: number, id or name as the user gave it, or as its file says.
        organ: name of the template.
        status: "absent" (no voxels or no such segment), "implausible" (does not look like the organ) or "failed".
        reason: one sentence; code: by which programs know it.
    """

    label: int | str
    organ: str
    status: str
    reason: str
    code: str

    def said(self) -> str:
        """The status as the rest of a sentence about the organ."""
        if self.code == NON_COMMERCIAL:
            return "needs --non-commercial"
        return {ABSENT: "is absent", IMPLAUSIBLE: "does not look like the organ"}.get(self.status, "failed")


def not_refined(label: int | str, organ: str, error: ReShapeITError) -> OrganNotRefined:
    """The entry of a label that stays as it is for the reason that ``error`` says."""
    status = IMPLAUSIBLE if isinstance(error, ImplausibleError) else FAILED
    status = ABSENT if error.code in (NO_VOXELS, NO_SEGMENT) else status
    return OrganNotRefined(label, organ, status, " ".join(str(error).split()), error.code)


@dataclass(frozen=True)
class RefineReport:
    """One run of ``reshapeit refine``.

    Args:
        input, output: files.
        preset, seed: as used.
        seconds: of the whole run.
        peak_memory_mb: most memory the process has held.
        organs: one entry for each refined label.
        not_refined: one entry for each label that was asked for and stays as it is.
        image: file or folder of the image that was given; None where none was.
    """

    input: str
    output: str
    preset: str
    seed: int
    seconds: float
    peak_memory_mb: float
    organs: tuple[OrganReport, ...]
    not_refined: tuple[OrganNotRefined, ...] = ()
    image: str | None = None

    def summary(self) -> list[str]:
        """Lines for people: one for each refined organ; one on the whole where not all were refined."""
        lines = [organ.summary() for organ in self.organs]
        if self.not_refined:
            left = ", ".join(f"{one.organ} {one.said()}" for one in self.not_refined)
            lines.append(f"{len(self.organs)} of {len(self.organs) + len(self.not_refined)} organs refined; {left}")
        return lines

    def to_json(self) -> dict:
        """Plain values; a number that is not finite becomes None, since JSON has no such numbers."""
        told = {"reshapeit_version": __version__, "notice": NOTICE, **asdict(self)}
        return {name: _finite(value) for name, value in told.items()}

    def write(self, path: str | Path) -> None:
        """Write the JSON file by way of a temporary one.

        Raises:
            BadInputError: the file cannot be written.
        """
        text = json.dumps(self.to_json(), indent=2, allow_nan=False, ensure_ascii=False)
        with atomic_path(path) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")


class StageClock:
    """Measures how long each stage of a run takes while passing its reports on.

    Args:
        progress: gets every report.
        message: passed on with every report, e.g. which organ it is.
    """

    def __init__(self, progress: Stages, message: str = ""):
        self._progress, self._message = progress, message
        self._stage, self._since = "", time.perf_counter()
        self._seconds: dict[str, float] = {}

    def stage(self, name: str, fraction: float, message: str = "") -> None:
        """Report a stage; the time until the next other stage counts for it."""
        self._progress.stage(name, fraction, message or self._message)
        if name != self._stage:
            self._book()
            self._stage = name

    def check_cancelled(self) -> None:
        """Raise CancelledError if the run was asked to stop."""
        self._progress.check_cancelled()

    def seconds(self) -> dict[str, float]:
        """Seconds by stage up to now."""
        self._book()
        return {name: round(spent, 3) for name, spent in self._seconds.items()}

    def _book(self) -> None:
        now = time.perf_counter()
        if self._stage:
            self._seconds[self._stage] = self._seconds.get(self._stage, 0.0) + now - self._since
        self._since = now


def voxel_changes(before: np.ndarray, after: np.ndarray, geometry: ImageGeometry) -> dict[str, Any]:
    """Volumes in mL and Dice of two (K, J, I) bool masks on one grid, under the names of :class:`OrganReport`."""
    to_ml = geometry.voxel_volume_mm3 / 1000.0
    n_before, n_after = np.count_nonzero(before), np.count_nonzero(after)
    n_both = np.count_nonzero(before & after)
    return {
        "volume_before_ml": n_before * to_ml,
        "volume_after_ml": n_after * to_ml,
        "added_ml": (n_after - n_both) * to_ml,
        "removed_ml": (n_before - n_both) * to_ml,
        "dsc_to_input": 2.0 * n_both / max(1, int(n_before) + int(n_after)),
    }


def surface_changes(surface: TriangleSurface) -> tuple[dict[str, float], float]:
    """Area-weighted statistics of ``signed_change_mm``, and the share of the area where ``field_weight`` is over 1/2.

    Args:
        surface: with both arrays as point data (see ``RefinedShape.surface``).
    """
    change = np.asarray(surface.point_data["signed_change_mm"], dtype=np.float64)
    areas = np.zeros(len(change))
    for corner in range(3):
        areas += np.bincount(surface.faces[:, corner], surface.face_areas_mm2 / 3.0, minlength=len(change))
    areas /= areas.sum()
    order = np.argsort(np.abs(change))
    place = min(int(np.searchsorted(np.cumsum(areas[order]), 0.95)), len(change) - 1)
    statistics = {
        "mean_abs": float(areas @ np.abs(change)),
        "p95_abs": float(np.abs(change[order[place]])),
        "max_out": float(max(change.max(), 0.0)),
        "max_in": float(max(-change.min(), 0.0)),
    }
    return statistics, float(areas[np.asarray(surface.point_data["field_weight"]) > 0.5].sum())


def shape_report(shape: RefinedShape) -> dict[str, Any]:
    """What a refined shape knows about itself, under the names of :class:`OrganReport`."""
    to_unit, plausibility = shape.alignment.ras_to_unit, shape.plausibility
    cosine = np.clip((np.trace(to_unit.rotation) - 1.0) / 2.0, -1.0, 1.0)
    return {
        "suggestions": suggestion_entries(shape),
        "islands_removed": shape.cleaning.islands_removed,
        "holes_filled": shape.cleaning.holes_filled,
        "alignment": {
            "mm_per_unit": 1.0 / to_unit.scale,
            "rotation_degrees": float(np.degrees(np.arccos(cosine))),
            "mean_residual_mm": shape.alignment.mean_residual_mm,
        },
        "plausibility": {
            "volume_z": plausibility.volume_z,
            "alignment_z": plausibility.alignment_z,
            "shape_distance": None if np.isnan(plausibility.shape_distance) else plausibility.shape_distance,
            "closest_organ": plausibility.closest_organ,
            "code_energy": shape.fitted.code_energy if shape.fit.is_done else None,
            "problems": list(plausibility.problems),
        },
    }


def suggestion_entries(shape: RefinedShape) -> list[dict[str, Any]]:
    """What was found and whether it was taken, and last what clicks made."""
    entries = shape.suggestions.entries if shape.suggestions else ()
    told = [{**entry.as_dict(), "taken": entry.number in shape.taken} for entry in entries]
    return told + [{**entry.as_dict(), "taken": True} for entry in shape.clicked]


def peak_memory_mb() -> float:
    """Most memory (MB) this process has held so far."""
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset / 2**20
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def _finite(value: Any) -> Any:
    """Nested plain values without NaN and infinity, numbers rounded to what they are worth."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
