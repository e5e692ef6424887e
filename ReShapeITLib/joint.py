"""Several refined organs back into one label volume, without overlaps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from .geometry import ImageGeometry
from .labels import LabelVolume

if TYPE_CHECKING:
    from .refinement import RefinedShape


def combine(
    volume: LabelVolume, refined: Mapping[int | str, RefinedShape], keep_union: bool = False
) -> LabelVolume:
    """The volume with the refined labels in the place of the given ones.

    A voxel that several refined organs claim goes to the one whose signed distance is smallest there, unless the
    given segments overlapped at this very voxel (in a .seg.nrrd they may, on purpose). Voxels of labels that were
    not refined stay theirs: a refined organ takes new voxels from the background only.

    Args:
        volume: the given labels.
        refined: refined shape of each label number, segment id or name.
        keep_union: voxels that the given organs covered and no refined one does go to the one with the smallest
            signed distance, where the gap they form lies between refined organs. A leak that was cut off touches
            one organ only and stays off.
    """
    geometry = volume.geometry
    masks = {label: shape.mask(geometry) for label, shape in refined.items()}
    if len(refined) > 1:
        given = _count(volume.mask(label) for label in refined)
        claims = _count(masks.values())
        _settle(masks, (claims > 1) & (given <= 1), refined, geometry)
        if keep_union:
            _assign(masks, _gaps_between(masks, (given > 0) & (claims == 0)), refined, geometry)
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


def _assign(masks: dict, gaps: np.ndarray, refined: Mapping, geometry: ImageGeometry) -> None:
    """Give each gap voxel, in place, to the organ with the smallest distance."""
    if not gaps.any():
        return
    winner = _distances(gaps, refined, geometry).argmin(axis=0)
    for index, label in enumerate(refined):
        masks[label][gaps] = winner == index


def _distances(where: np.ndarray, refined: Mapping, geometry: ImageGeometry) -> np.ndarray:
    """(labels, N) signed distance in mm of every refined organ at the N voxels of a mask."""
    points_ras = geometry.ijk_to_ras_points(np.argwhere(where)[:, ::-1])
    return np.stack([shape.sdf_mm(points_ras) for shape in refined.values()])


def _gaps_between(masks: Mapping, uncovered: np.ndarray) -> np.ndarray:
    """Connected pieces of ``uncovered`` that touch at least two of the masks."""
    if not uncovered.any():
        return uncovered
    # One voxel more on all sides, for the neighbours.
    box = tuple(slice(max(s.start - 1, 0), s.stop + 1) for s in ndimage.find_objects(uncovered.astype(np.uint8))[0])
    pieces, count = ndimage.label(uncovered[box])
    touching = np.zeros(count + 1, dtype=int)
    for mask in masks.values():
        touched = np.unique(pieces[ndimage.binary_dilation(mask[box])])
        touching[touched] += 1
    touching[0] = 0
    gaps = np.zeros_like(uncovered)
    gaps[box] = (touching >= 2)[pieces]
    return gaps
