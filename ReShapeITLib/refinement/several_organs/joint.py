"""Several refined organs back into one label volume, without overlaps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from ...core.geometry import ImageGeometry
from ...core.labels import LabelVolume

if TYPE_CHECKING:
    from ..refined import RefinedShape


# A gap between parts of a whole: so much of its surroundings belongs to them, and so much to the second of them.
_ENCLOSED, _BETWEEN = 0.6, 0.1


def combine(
    volume: LabelVolume,
    refined: Mapping[int | str, RefinedShape],
    keep_union: bool = False,
    wholes: Mapping[int | str, str] | None = None,
    masks: dict[int | str, np.ndarray] | None = None,
) -> LabelVolume:
    """The volume with the refined labels in the place of the given ones.

    A voxel that several refined organs claim goes to the one whose signed distance is smallest there, unless the
    given segments overlapped at this very voxel (in a .seg.nrrd they may, on purpose). So does a voxel of a new gap
    of up to two voxels between refined organs; a wider one is no matter of rounding and stays, but between parts of a
    whole, such as the lobes of a lung, there is nothing else. Voxels of labels that were not refined stay theirs: a
    refined organ takes new voxels from the background only.

    Args:
        volume: the given labels.
        refined: refined shape of each label number, segment id or name.
        keep_union: of several refined organs, all voxels that the given ones covered stay covered, and no others
            are: only the borders between them move. A single organ does not take notice of it.
        wholes: what each label is a part of; "" where it is whole itself.
        masks: (K, J, I) bool voxels of each refined shape for itself, where they are known already; changed in place.
    """
    geometry = volume.geometry
    masks = masks or {label: shape.mask(geometry) for label, shape in refined.items()}
    if len(refined) > 1:
        given = _count(volume.mask(label) for label in refined)
        if keep_union:
            masks.update({label: mask & (given > 0) for label, mask in masks.items()})
        claims = _count(masks.values())
        _settle(masks, (claims > 1) & (given <= 1), refined, geometry)
        widest_mm = np.inf if keep_union else 2.0 * float(geometry.spacing_mm.max())
        _fill(masks, (given > 0) & (claims == 0), refined, geometry, widest_mm)
        for parts in _parts_of_wholes(wholes or {}):
            _close(masks, volume, {label: refined[label] for label in parts}, geometry)
    # First every organ leaves what it gives up, then each takes what is free: the order of labels does not matter.
    for label in refined:
        volume = volume.replaced(label, masks[label] & volume.mask(label))
    for label in refined:
        volume = volume.replaced(label, masks[label], take_from_others=False)
    return volume


def _count(masks: Iterable[np.ndarray]) -> np.ndarray:
    """(K, J, I) how many of the masks hold each voxel."""
    masks = iter(masks)
    total = next(masks).astype(np.uint8)
    for mask in masks:
        total += mask
    return total


def _settle(masks: dict, contested: np.ndarray, refined: Mapping, geometry: ImageGeometry) -> None:
    """Leave each contested voxel, in place, to the claimant with the smallest distance."""
    if not contested.any():
        return
    labels = list(refined)
    claims = np.stack([masks[label][contested] for label in labels])
    distances = np.where(claims, _distances(contested, refined, geometry), np.inf)
    winner = distances.argmin(axis=0)
    for index, label in enumerate(labels):
        masks[label][contested] = winner == index


def _fill(masks: dict, uncovered: np.ndarray, refined: Mapping, geometry: ImageGeometry, widest_mm: float) -> None:
    """Give each uncovered voxel in a gap up to so wide, in place, to the organ with the smallest distance."""
    if not uncovered.any():
        return
    distances = _distances(uncovered, refined, geometry)
    # Between two parallel borders the distances to both add up to the width of the gap.
    width_mm = np.partition(distances, 1, axis=0)[:2].sum(axis=0)
    winner = np.where(width_mm <= widest_mm, distances.argmin(axis=0), -1)
    for index, label in enumerate(refined):
        masks[label][uncovered] = winner == index


def _parts_of_wholes(wholes: Mapping[int | str, str]) -> list[list[int | str]]:
    """Labels of each whole that has several parts."""
    named = sorted({whole for whole in wholes.values() if whole})
    parts = [[label for label, whole in wholes.items() if whole == name] for name in named]
    return [labels for labels in parts if len(labels) > 1]


def _close(masks: dict, volume: LabelVolume, parts: Mapping, geometry: ImageGeometry) -> None:
    """Give the gaps between the parts of a whole, in place, to the nearest part.

    What the parts gave up and no one claims is such a gap where parts lie around it; what lies outside was a leak.
    """
    given, claimed = (_count(group) > 0 for group in ([volume.mask(p) for p in parts], masks.values()))
    uncovered = given & ~claimed
    if not uncovered.any():
        return
    # Gaps of one or two voxels are filled already; a rim that moved inwards must not connect the others.
    pieces, _ = ndimage.label(ndimage.binary_erosion(uncovered, border_value=1))
    gaps = np.zeros_like(uncovered)
    for number, box in enumerate(ndimage.find_objects(pieces), start=1):
        around = tuple(slice(max(0, s.start - 2), s.stop + 2) for s in box)
        piece = ndimage.binary_dilation(pieces[around] == number, np.ones((3, 3, 3))) & uncovered[around]
        shell = ndimage.binary_dilation(piece) & ~piece
        shares = sorted((masks[part][around][shell].mean() for part in parts), reverse=True)
        if sum(shares) > _ENCLOSED and shares[1] > _BETWEEN:
            gaps[around] |= piece
    if gaps.any():
        nearest = _distances(gaps, parts, geometry).argmin(axis=0)
        for index, part in enumerate(parts):
            masks[part][gaps] = nearest == index


def _distances(where: np.ndarray, refined: Mapping, geometry: ImageGeometry) -> np.ndarray:
    """(labels, N) signed distance in mm of every refined organ at the N voxels of a mask."""
    points_ras = geometry.ijk_to_ras_points(np.argwhere(where)[:, ::-1])
    return np.stack([shape.sdf_mm(points_ras) for shape in refined.values()])
