"""Suggestions: the regions in which given and expected organ contradict each other, each with its evidence.

A witness (the restoration network, or the fitted field of a template without one) answers on a coarse grid and is right
to about half a cell, so the given surface, which came from the image, stands wherever the two agree to within a cell.
What is left falls into connected regions. Each is one suggestion, with one calibrated probability of being right
(:mod:`calibration`), and is taken as a whole where that is high enough.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ...core.geometry import ImageGeometry
from ...distance.surface import DistanceGrid
from ...restoration.model import FIELD, NETWORK, Restoration
from .calibration import IMAGE, Calibration

MISSING, ATTACHED, APART, BEYOND = KINDS = ("missing", "attached", "apart", "beyond")
TYPICALLY_UNLIKE = 0.8  # the median of whole and damaged organs
_NEIGHBOURS = np.ones((3, 3, 3))
_LEAST_SEEN = 0.5  # share of a region that an image must reach to have a say on it
_TOP = 90  # percentile of a region's cells that stands for its middle


@dataclass(frozen=True)
class Suggestion:
    """One region in which the expected organ differs from the given one.

    Args:
        number: in :attr:`Suggestions.regions`, from 1.
        kind: "missing" (add it), "attached" or "apart" (remove it), "beyond" (add it beyond the end of a truncated
            field of view).
        volume_ml: of the cells that would change.
        centre_ras: (x, y, z) of their middle, mm.
        extent_mm: diagonal of the box around them.
        evidence: by name. "network": how far its answer has the cells on the other side, top tenth, in cells (at most
            three); "field": the same of a fitted field, mean; "spread": standard deviation of the network's answers in
            several poses, mean in cells; "depth": how deep the change goes below the given surface, top tenth, in
            cells; "unlike": see :func:`find_suggestions`; "image": how much likelier the brightness of what would be
            added is the organ's than its surroundings', the other way round of what would be removed, mean of log
            ratios; absent where there is no image or it has no say.
        probability: that more of the change is right than wrong.
    """

    number: int
    kind: str
    volume_ml: float
    centre_ras: tuple[float, float, float]
    extent_mm: float
    evidence: dict[str, float]
    probability: float

    def as_dict(self) -> dict:
        """Plain values for reports."""
        return {
            "id": self.number,
            "kind": self.kind,
            "volume_ml": self.volume_ml,
            "centre_ras": list(self.centre_ras),
            "extent_mm": self.extent_mm,
            "evidence": self.evidence,
            "probability": self.probability,
        }


@dataclass(frozen=True, eq=False)
class Suggestions:
    """All suggestions about one organ.

    Args:
        regions: [z, y, x] int32 number of the suggestion that a cell belongs to, 0 for none.
        geometry: of the cells, RAS mm.
        entries: the suggestions, likeliest first.
        transition_cells: width of the smooth transition at the border of what is taken.
    """

    regions: np.ndarray
    geometry: ImageGeometry
    entries: tuple[Suggestion, ...]
    transition_cells: float

    def likelier_than(self, least: float) -> frozenset[int]:
        """Numbers of those whose probability is above ``least``: the one rule by which suggestions are taken."""
        return frozenset(entry.number for entry in self.entries if entry.probability > least)

    def weight(self, taken: Collection[int], without: np.ndarray | None = None) -> DistanceGrid:
        """Weight of the expected organ on the cells: 1 in the suggestions that are taken, 0 outside, smooth between.

        Args:
            taken: their numbers.
            without: [z, y, x] bool cells that stay as given all the same.
        """
        weight = np.zeros(self.regions.shape, dtype=np.float32)
        inside = np.isin(self.regions, list(taken)) & (self.regions > 0)
        if without is not None:
            inside &= ~without
        if inside.any():
            cells = ndimage.distance_transform_edt(~inside)
            weight = np.clip(1.0 - (cells - 1.0) / self.transition_cells, 0.0, 1.0).astype(np.float32)
        return DistanceGrid(weight, self.geometry)


def find_suggestions(
    restoration: Restoration,
    calibration: Calibration,
    unlike: float = TYPICALLY_UNLIKE,
    likeness: np.ndarray | None = None,
) -> Suggestions:
    """Every region in which a witness's organ contradicts the given one.

    Args:
        restoration: given organ and the witness's.
        calibration: from evidence to probability; knows the witness.
        unlike: how far the given organ's form as a whole is from those of the training cases
            (``Plausibility.shape_distance``).
        likeness: [z, y, x] what an image says of each cell (``image.evidence.likeness_to_organ``).
    """
    unlike = TYPICALLY_UNLIKE if np.isnan(unlike) else unlike
    given, restored = (g.values_mm / restoration.cell_mm for g in (restoration.given, restoration.restored))
    regions = np.zeros(given.shape, dtype=np.int32)
    entries = []
    found = _contradictions(given, restored, restoration.unseen, calibration.constants.reach_cells)
    for number, (kind, region, core) in enumerate(found, start=1):
        regions[region] = number
        evidence = {**_evidence(kind, core, given, restored, restoration), "unlike": float(unlike)}
        evidence |= _of_image(kind, core, likeness)
        probability = calibration.probability(restoration.witness, kind, evidence)
        entries.append(_suggestion(number, kind, core, restoration, evidence, probability))
    entries.sort(key=lambda entry: -entry.probability)
    transition_cells = calibration.constants.transition_cells
    return Suggestions(regions, restoration.restored.geometry, tuple(entries), transition_cells)


def _evidence(
    kind: str, core: np.ndarray, given: np.ndarray, restored: np.ndarray, restoration: Restoration
) -> dict[str, float]:
    """What speaks for a change and against it; see :attr:`Suggestion.evidence`.

    Args:
        kind: one of ``KINDS``.
        core: (n, 3) the cells that would change, [z, y, x].
        given, restored: [z, y, x] in cells.
        restoration: that they come from.
    """
    cells = tuple(core.T)
    sign = -1.0 if kind in (MISSING, BEYOND) else 1.0
    answer, depth = sign * restored[cells], float(np.percentile(-sign * given[cells], _TOP))
    if restoration.witness == FIELD:
        return {FIELD: float(answer.mean()), "depth": depth}
    spread = float(restoration.spread[cells].mean())
    return {NETWORK: float(np.percentile(answer, _TOP)), "spread": spread, "depth": depth}


def _of_image(kind: str, core: np.ndarray, likeness: np.ndarray | None) -> dict[str, float]:
    """The evidence of an image that reaches at least half of the (n, 3) cells that would change."""
    if likeness is None:
        return {}
    there = likeness[tuple(core.T)]
    there = there[~np.isnan(there)]
    if len(there) < _LEAST_SEEN * len(core):
        return {}
    return {IMAGE: float(there.mean()) * (1.0 if kind in (MISSING, BEYOND) else -1.0)}


def _contradictions(
    given: np.ndarray, restored: np.ndarray, unseen: np.ndarray | None, reach_cells: float
) -> Iterator[tuple[str, tuple[np.ndarray, ...], np.ndarray]]:
    """Kind, cells of the region (index arrays), and (n, 3) those of its cells that would change."""
    organs, n_organs = ndimage.label(given < 0, structure=_NEIGHBOURS)
    sizes = np.bincount(organs.ravel(), minlength=n_organs + 1)
    sizes[0] = 0
    main = int(sizes.argmax())
    for sign in (-1, 1):
        pieces, _ = ndimage.label(sign * (restored - given) > reach_cells, structure=_NEIGHBOURS)
        contradicted = (sign * given < 0) & (sign * restored > 0)
        for number, box in enumerate(ndimage.find_objects(pieces), start=1):
            region = pieces[box] == number
            start = np.array([s.start for s in box])
            core = np.argwhere(region & contradicted[box]) + start
            if not len(core):
                continue
            cells = tuple(core.T)
            if sign < 0:
                kind = BEYOND if unseen is not None and unseen[cells].mean() > 0.5 else MISSING
            else:
                kind = ATTACHED if (organs[cells] == main).any() else APART
            yield kind, tuple((np.argwhere(region) + start).T), core


def _suggestion(
    number: int, kind: str, core: np.ndarray, restoration: Restoration, evidence: dict[str, float], probability: float
) -> Suggestion:
    geometry = restoration.restored.geometry
    points_ras = geometry.ijk_to_ras_points(core[:, ::-1])
    x, y, z = (float(value) for value in points_ras.mean(axis=0))
    extent_mm = float(np.linalg.norm(np.ptp(core, axis=0) + 1) * restoration.cell_mm)
    volume_ml = len(core) * geometry.voxel_volume_mm3 / 1000.0
    return Suggestion(number, kind, volume_ml, (x, y, z), extent_mm, evidence, probability)
