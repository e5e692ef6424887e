"""What a refinement did to one segment, in numbers and words."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SummaryRow:
    """What the refinement did to one segment; see the package's documentation."""

    segmentId: str
    resultSegmentId: str
    modelNodeId: str
    name: str
    organ: str
    volumeBeforeMl: float
    volumeAfterMl: float
    largestMoveMm: float | None
    meanMoveMm: float | None
    dscToInput: float
    plausibility: str
    isPlausible: bool
    licence: str
    nonCommercial: bool
    device: str
    deviceReason: str
    state: str
    image: str = ""


def rowOf(item, name: str, modelNodeId: str, counts: tuple[int, int, int], voxelMl: float) -> SummaryRow:
    """The row of a Result.

    :param counts: voxels before, after and both.
    :param voxelMl: volume of a voxel.
    """
    given, report = item.refined.given, item.refined.report
    before, after, both = counts
    change, fraction = report["signed_change_mm"], 0.0 if item.state == "rejected" else item.fraction
    plausibility = report["plausibility"]
    return SummaryRow(
        given.segmentId,
        item.resultSegmentId,
        modelNodeId,
        name,
        report["organ"],
        before * voxelMl,
        after * voxelMl,
        fraction * max(change["max_out"], change["max_in"]) if change else None,
        fraction * change["mean_abs"] if change else None,
        2.0 * both / max(before + after, 1),
        _inWords(plausibility),
        not plausibility["problems"],
        report["licence"],
        report["non_commercial"],
        report["device"],
        report["device_reason"],
        item.state,
        (report.get("image") or {}).get("status", ""),
    )


def _inWords(plausibility: dict) -> str:
    """How a given organ compares with the training cases."""
    if plausibility["problems"]:
        return "; ".join(plausibility["problems"])
    return f"as in the training cases (volume {plausibility['volume_z']:+.1f} SD)"
