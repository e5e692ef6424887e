"""Where the given organ is believed and where the restored one is: by the confidence of the network.

The network answers on a coarse grid and is right to about half a cell, so the given surface, which came from the image,
stands wherever the two agree to within a cell. What is left falls into connected regions, and each is taken up or left
as a whole, by the network's confidence in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from ..distance.surface import DistanceGrid

if TYPE_CHECKING:
    from .model import Restoration

_NEIGHBOURS = np.ones((3, 3, 3))
_CERTAIN_CELLS = 2.8  # of three: every pose says so


@dataclass(frozen=True)
class ConfidenceOptions:
    """Confidence that is asked of the network, in cells of restored distance (at most three), of a region's top tenth.

    Restored distances are averages over poses, limited to three cells: a value near the limit means that every pose
    says so. The figures were chosen on network predictions and made damage of ten pancreases that are in neither
    training nor evaluation; the table of networks may have others for an organ (``restoration.table``).

    Args:
        add_cells: for what is missing.
        add_much_cells: for what is missing where it is more than ``much`` of the given organ: so much is rather an
            organ of another form than an oversight, when all the rest is right.
        much: share of the given organ's volume.
        larger_per_z: added to both for each standard deviation by which the given organ is larger than the training
            cases, up to two: an organ that is large as it is hardly misses a part.
        smaller_per_z: added to all but ``add_much_cells`` and ``open_cells`` for each standard deviation beyond two by
            which the organ is smaller: an oversight does not make it so small, it may be a collapsed lobe and whole;
            or it lost much, and then what is there, attached or apart, is rather a part of it than too much. What the
            network is certain of goes all the same.
        remove_cells: for what is attached to the organ and does not belong to it.
        remove_much_cells: the same where it is more than ``much`` of the given organ.
        open_cells: for what lies mostly beyond an end where the organ was cut off (see ``refinement.truncation``).
        flat_share: how much of the organ's shadow along the body an end in one plane must cover to count as cut off;
            whole abdominal organs of training reach 0.12, cut ones have 0.1 to 0.5; lobes are flat by themselves.
        flat_below: how much of ``flat_share`` is enough for the lower end.
        island_cells: for what lies apart and does not belong to it.
        island_much_cells: the same where it is more than ``much_island`` of the given organ: so large a piece may be a
            part of the organ that lost its connection.
        much_island: share of the given organ's volume.
        fill_ml: closed cavities of up to this volume are filled before the network is asked, larger ones if it says so.
        reach_cells: regions are the connected cells whose two distances differ by more than this.
        transition_cells: width of the smooth transition at a region's border.
        shapes: how much shapes of the template may count beside the network's organ in doubted parts (0 to 1); more
            than nothing where that was measured to help, as for organs whose form is much alike in all patients.
        closely: whether doubted parts follow the patient's own, closely fitted field (held to the network's answer) in
            the place of that answer: slower, and true where it was measured to help.
    """

    add_cells: float = 0.5
    add_much_cells: float = 2.2
    much: float = 0.05
    larger_per_z: float = 0.2
    smaller_per_z: float = 0.4
    remove_cells: float = 2.8
    remove_much_cells: float = 2.8
    open_cells: float = 0.3
    flat_share: float = 0.12
    flat_below: float = 1.0
    island_cells: float = 1.0
    island_much_cells: float = 1.0
    much_island: float = 0.015
    fill_ml: float = float("inf")
    reach_cells: float = 0.7
    transition_cells: float = 1.0
    shapes: float = 0.0
    closely: bool = False

    @property
    def flat_shares(self) -> tuple[float, float]:
        """``flat_share`` of the lower and of the upper end."""
        return self.flat_share * self.flat_below, self.flat_share

    def threshold(self, kind: str, volume_z: float, blur_cells: float = 0.0) -> float:
        """Confidence that a kind of region needs in an organ of that relative size, whose surface is known
        to within ``blur_cells`` only."""
        larger = self.larger_per_z * min(max(volume_z, 0.0), 2.0)
        smaller = self.smaller_per_z * max(-2.0 - volume_z, 0.0)
        own = getattr(self, f"{kind}_cells")
        if kind == "add":
            own += larger + smaller
        elif kind == "add_much":
            own += larger
        elif kind != "open":
            own = max(own, min(own + smaller, _CERTAIN_CELLS))
        return own + blur_cells


def doubt(
    restoration: Restoration,
    options: ConfidenceOptions,
    volume_z: float = 0.0,
    unseen: np.ndarray | None = None,
    blur_mm: float = 0.0,
) -> DistanceGrid:
    """Weight of the restored organ against the given one, from 0 (kept) to 1, on the network's grid.

    Args:
        volume_z: standard deviations of the given organ's log-volume from the mean of the training cases.
        unseen: [z, y, x] bool cells of which nothing is known, beyond the ends where the organ was cut off.
        blur_mm: how far off the given surface may be because its voxels are coarse: half of one.
    """
    given = restoration.given.values_mm / restoration.cell_mm
    restored = restoration.restored.values_mm / restoration.cell_mm
    taken = np.zeros(given.shape, dtype=bool)
    for region, kind, confidence_cells in disagreements(given, restored, options, unseen):
        if confidence_cells > options.threshold(kind, volume_z, blur_mm / restoration.cell_mm):
            taken |= region
    weight = np.zeros(given.shape, dtype=np.float32)
    if taken.any():
        cells = ndimage.distance_transform_edt(~taken)
        weight = np.clip(1.0 - (cells - 1.0) / options.transition_cells, 0.0, 1.0).astype(np.float32)
    return DistanceGrid(weight, restoration.restored.geometry)


def disagreements(
    given: np.ndarray, restored: np.ndarray, options: ConfidenceOptions, unseen: np.ndarray | None = None
):
    """The regions in which the two organs contradict each other.

    Args:
        given, restored: [z, y, x] signed distances in cells.
        options: what makes a region, and how much is much.
        unseen: see :func:`doubt`.

    Yields:
        [z, y, x] bool region; "add", "add_much", "open", "remove", "remove_much", "island" or "island_much"; the
        network's confidence, in cells.
    """
    organs, n_organs = ndimage.label(given < 0, structure=_NEIGHBOURS)
    sizes = np.bincount(organs.ravel(), minlength=n_organs + 1)[1:]
    main = 1 + int(sizes.argmax()) if n_organs else 0
    for sign in (-1, 1):
        pieces, _ = ndimage.label(sign * (restored - given) > options.reach_cells, structure=_NEIGHBOURS)
        contradicted = (sign * given < 0) & (sign * restored > 0)
        for number, box in enumerate(ndimage.find_objects(pieces), start=1):
            region = pieces[box] == number
            core = region & contradicted[box]
            if not core.any():
                continue
            whole = np.zeros(given.shape, dtype=bool)
            whole[box] = region
            cells, given_cells = core.sum(), sizes.sum()
            much = "_much" if cells > options.much * given_cells else ""
            if sign < 0:
                kind = f"add{much}"
                if unseen is not None and unseen[box][core].mean() > 0.5:
                    kind = "open"
            elif main in organs[box][core]:
                kind = f"remove{much}"
            else:
                kind = "island_much" if cells > options.much_island * given_cells else "island"
            yield whole, kind, float(np.percentile(sign * restored[box][core], 90))
