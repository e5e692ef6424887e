"""Pieces that a refinement removes or adds: told in the report, and refused where they are as large as an organ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from ...core.errors import ImplausibleError, label_subject
from ...core.geometry import ImageGeometry
from ...refinement.plausibility import SHAPE_LIMIT
from .counts import grown, islands_and_holes
from .likeness import KnownOrgans, points_of

LEAST_TOLD_ML = 1.0
# The repairs of leaks and attached neighbours on real predictions remove less; a tumour of an organ can be more.
MOST_REMOVED_SHARE = 0.2
# More would leave a result that is for the most part invented.
MOST_ADDED_SHARE = 0.5
_NEIGHBOURS = np.ones((3, 3, 3), dtype=bool)


@dataclass(frozen=True, eq=False)
class Piece:
    """One connected piece that came or went.

    Args:
        volume_ml: of its voxels.
        points_ras: (N, 3) their centres, RAS mm.
    """

    volume_ml: float
    points_ras: np.ndarray

    def to_json(self) -> dict:
        """Plain values."""
        return {"volume_ml": self.volume_ml, "centre_ras": self.points_ras.mean(axis=0).tolist()}


def pieces_of(changed: np.ndarray, whole: np.ndarray, geometry: ImageGeometry) -> list[Piece]:
    """Pieces of at least ``LEAST_TOLD_ML``, the largest first.

    A rim of one or two voxels, as a moved border leaves, is no piece. A component of ``whole`` that changed
    entirely is one however thin it is.

    Args:
        changed: (K, J, I) bool voxels that came or went.
        whole: (K, J, I) bool, what they are a part of: the given organ, or the refined one.
        geometry: of both.
    """
    to_ml = geometry.voxel_volume_mm3 / 1000.0
    if np.count_nonzero(changed) * to_ml < LEAST_TOLD_ML:
        return []
    (box,) = ndimage.find_objects((whole | changed).astype(np.uint8))
    changed, whole = np.pad(changed[box], 1), np.pad(whole[box], 1)
    geometry = geometry.cropped([s.start - 1 for s in box[::-1]], changed.shape[::-1])
    components, count = ndimage.label(whole, structure=_NEIGHBOURS)
    stays = np.bincount(components[whole & ~changed], minlength=count + 1) > 0
    entire = np.zeros_like(changed)
    entire[changed] = ~stays[components[changed]] & (components[changed] > 0)
    told = (grown(_inner(changed)) & changed) | entire
    if np.count_nonzero(told) * to_ml < LEAST_TOLD_ML:
        return []
    (box,) = ndimage.find_objects(told.astype(np.uint8))
    geometry = geometry.of_box(box)
    pieces, _ = ndimage.label(told[box], structure=_NEIGHBOURS)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    large = [number for number in np.argsort(-sizes) if sizes[number] * to_ml >= LEAST_TOLD_ML]
    return [Piece(float(sizes[number] * to_ml), points_of(pieces == number, geometry)) for number in large]


def _inner(mask: np.ndarray) -> np.ndarray:
    """``ndimage.binary_erosion(mask)``, by whole slices: several times as fast."""
    inner = mask.copy()
    for kept, beside in zip(_along_axes(inner), _along_axes(mask), strict=True):
        kept[1:] &= beside[:-1]
        kept[:-1] &= beside[1:]
        kept[0] = kept[-1] = False
    return inner


def _along_axes(mask: np.ndarray) -> list[np.ndarray]:
    return [np.moveaxis(mask, axis, 0) for axis in range(mask.ndim)]


def piece_report(before: np.ndarray, after: np.ndarray, geometry: ImageGeometry) -> dict[str, Any]:
    """The pieces, islands and holes of an ``OrganReport``, from two (K, J, I) bool masks on one grid."""
    removed, added = pieces_of(before & ~after, before, geometry), pieces_of(after & ~before, after, geometry)
    return {
        "removed_pieces": [piece.to_json() for piece in removed],
        "added_pieces": [piece.to_json() for piece in added],
        **islands_and_holes(before, after),
    }


def organ_sized_change(
    before: np.ndarray,
    after: np.ndarray,
    geometry: ImageGeometry,
    known: KnownOrgans,
    organ: str,
    label: int | str,
    source: str,
) -> ImplausibleError | None:
    """The complaint about a piece that is too large to come or go by itself; None where there is none.

    Args:
        before, after: (K, J, I) bool voxels of the given and of the refined organ.
        geometry: of both.
        known: organs that a piece may look like.
        organ: of the template.
        label, source: label and file, for the message.
    """
    given_ml = float(np.count_nonzero(before)) * geometry.voxel_volume_mm3 / 1000.0
    fields = {"subject": label_subject(label, source), "label": label, "organ": organ, "input": source}
    for piece in pieces_of(before & ~after, before, geometry):
        share = piece.volume_ml / given_ml
        other = known.looks_like(piece.points_ras, geometry.voxel_volume_mm3, SHAPE_LIMIT)
        told = {**fields, "volume": f"{piece.volume_ml:.1f}", "share": round(100 * share), "other": other}
        if other and other != organ:
            words = "{subject} would lose a piece of {volume} mL that looks like {other}"
            hint = "use --template {label}={organ}+{other} to refine both, or --force to drop the piece"
            return ImplausibleError(words, hint, "implausible.removed_organ", **told)
        if share > MOST_REMOVED_SHARE:
            words = "{subject} would lose a piece of {volume} mL, {share} % of it, that does not fit {organ}"
            hint = (
                "give a tumour or cyst a label of its own and name it with --with, choose another template, "
                "or use --force to drop the piece"
            )
            return ImplausibleError(words, hint, "implausible.removed_piece", **told)
    for piece in pieces_of(after & ~before, after, geometry):
        share = piece.volume_ml / given_ml
        if share > MOST_ADDED_SHARE:
            told = {**fields, "volume": f"{piece.volume_ml:.1f}", "share": round(100 * share)}
            words = "{subject} would gain a piece of {volume} mL, {share} % of what was given"
            hint = "check that the organ is complete, or use --force to accept the piece"
            return ImplausibleError(words, hint, "implausible.added_piece", **told)
    return None
