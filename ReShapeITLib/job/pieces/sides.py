"""Left and right: labels of a pair that are swapped, organs of the other side and mirrored images, told as such."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import ndimage

from ...core.errors import BadInputError, ImplausibleError, label_subject
from ...core.labels import LabelVolume
from ...core.parallel import together
from ...refinement.plausibility import OTHER_ORGAN_LEAD, SHAPE_LIMIT
from .likeness import KnownOrgans, counterpart, is_solid, mirrored, points_of, voxel_moments

Label = int | str
_NEIGHBOURS = np.ones((3, 3, 3), dtype=bool)
SWAPPED, MIRRORED = OF_BOTH_SIDES = "sides.swapped", "sides.mirrored"
_IF_MIRRORED = "or correct the image's direction where it is mirrored left to right; --force refines it as it is"
_MIRRORED_IMAGE = (
    "{input} looks mirrored left to right: {labels} fits its template only as a mirror image",
    "correct the image's direction, or use --force to refine it as it is",
)
_SWAPPED = (
    "Labels {swapped} of {input} look swapped: each lies on the side of the other's organ",
    f"swap their templates, {_IF_MIRRORED}",
)
_PAIR = (
    "{subject} holds two organs: one piece looks like {organ}, another one of {volume} mL like {other_organ}",
    "use --template {label}={organ}+{other_organ} to refine both, or --force to refine it as one organ",
)
_OTHER_SIDE = (
    "{subject} looks like {other_organ}, not like {organ}",
    f"use the template {{other_organ}}, {_IF_MIRRORED}",
)
_MANY, _LOOKED_AT_MM = 100_000, 1.5  # voxels from which on not each is looked at, and how far apart those are then
_LEAST_OF_PAIR = 0.2  # share of a label that a piece has at least to be the organ of the other side


def side_problems(
    volume: LabelVolume, organs: Mapping[Label, str], known: KnownOrgans
) -> dict[Label, ImplausibleError]:
    """What is wrong with the sides of the labels that are refined, by label; labels without voxels are left out.

    Args:
        volume: the labels.
        organs: organ of each label that is refined.
        known: organs to compare with.
    """
    labels = list(organs)
    found = together(lambda label: _Seen.of(volume, label, organs[label], known), labels)
    seen = {label: one for label, one in zip(labels, found, strict=True) if one is not None}
    reflected = [label for label, one in seen.items() if one.is_mirrored]
    problems: dict[Label, ImplausibleError] = {}
    for label, one in seen.items():
        other = next((o for o, another in seen.items() if another.organ == counterpart(one.organ)), None)
        inverted = other is not None and _is_inverted(one, seen[other])
        fields: dict[str, Any] = {
            "subject": label_subject(label, volume.source),
            "label": label,
            "input": volume.source,
        }
        fields |= {"organ": one.organ, "other_organ": counterpart(one.organ), "other": other}
        if one.is_mirrored or ((inverted or one.is_of_other_side) and reflected):
            fields["labels"] = "label " + ", ".join(f"'{told}'" for told in reflected)
            problems[label] = ImplausibleError(*_MIRRORED_IMAGE, MIRRORED, **fields)
        elif inverted:
            fields["swapped"] = " and ".join(f"'{told}'" for told in seen if told in (label, other))
            problems[label] = ImplausibleError(*_SWAPPED, SWAPPED, **fields)
        elif one.pair_ml:
            problems[label] = ImplausibleError(*_PAIR, "sides.pair", **fields, volume=f"{one.pair_ml:.1f}")
        elif one.is_of_other_side:
            problems[label] = ImplausibleError(*_OTHER_SIDE, "sides.other_side", **fields)
    return problems


class _Seen:
    """What the sides of one label are judged by."""

    def __init__(self, organ: str, pieces: list[np.ndarray], voxel_mm3: float, known: KnownOrgans):
        self.organ = organ
        # A stray piece far away changes centre and moments of the whole.
        largest = pieces[0]
        points = np.concatenate(pieces) if len(pieces) > 1 else largest
        self.centre_r = float(largest[:, 0].mean())
        shapes = [points, largest] if 0.5 * len(points) < len(largest) < len(points) else [points]
        moments = [voxel_moments(shape, voxel_mm3) for shape in shapes if is_solid(shape)]
        as_seen, reflected = (_least(known, several) for several in (moments, [mirrored(m) for m in moments]))
        own, other = as_seen.get(organ, np.nan), as_seen.get(counterpart(organ), np.nan)
        self.is_of_other_side = bool(other + OTHER_ORGAN_LEAD < own)
        # The mirror image of an organ that comes in pairs is the other one.
        unlike = own > SHAPE_LIMIT and not counterpart(organ)
        self.is_mirrored = bool(unlike and reflected.get(organ, np.inf) < min(SHAPE_LIMIT, own - OTHER_ORGAN_LEAD))
        self.pair_ml = _other_of_pair_ml(organ, pieces, voxel_mm3, known)

    @classmethod
    def of(cls, volume: LabelVolume, label: Label, organ: str, known: KnownOrgans) -> _Seen | None:
        """Of one label; None where it has no voxels, or there is no such label."""
        try:
            box, count = volume.extent(label)
        except BadInputError:  # told where the label is refined
            return None
        if not count:
            return None
        part = volume.cropped(box)
        mask, geometry = part.mask(label), part.geometry
        if count > _MANY:  # every second or third voxel tells size, extents and orientation as well
            i, j, k = np.maximum(1, _LOOKED_AT_MM // geometry.spacing_mm).astype(int)
            mask, geometry = mask[::k, ::j, ::i], geometry.every((i, j, k))
        labelled, n_pieces = ndimage.label(mask, structure=_NEIGHBOURS)
        sizes = np.bincount(labelled.ravel(), minlength=n_pieces + 1)[1:]
        order = [n + 1 for n in np.argsort(-sizes) if sizes[n] >= _LEAST_OF_PAIR * sizes.sum()]
        order = order or [int(sizes.argmax()) + 1]
        pieces = [points_of(labelled == number, geometry) for number in order]
        small = np.ones(n_pieces + 1, dtype=bool)
        small[[0, *order]] = False
        pieces += [points_of(small[labelled], geometry)] if small.any() else []
        return cls(organ, pieces, geometry.voxel_volume_mm3, known) if is_solid(pieces[0]) else None


def _least(known: KnownOrgans, moments: list[np.ndarray]) -> dict[str, float]:
    """Smallest distance from each organ of several moments."""
    all_of_them = [known.distances(one) for one in moments]
    return {organ: min(one[organ] for one in all_of_them) for organ in (all_of_them[0] if all_of_them else ())}


def _other_of_pair_ml(organ: str, pieces: list[np.ndarray], voxel_mm3: float, known: KnownOrgans) -> float:
    """Volume (mL) of the piece that looks like the organ of the other side, beside one that looks like the organ's own;
    0 where there are no such two."""
    least = _LEAST_OF_PAIR * sum(map(len, pieces))
    large = [piece for piece in pieces if len(piece) >= least]
    looks = [known.looks_like(piece, voxel_mm3, SHAPE_LIMIT) for piece in large]
    if not counterpart(organ) or organ not in looks or counterpart(organ) not in looks:
        return 0.0
    return len(large[looks.index(counterpart(organ))]) * voxel_mm3 / 1000.0


def _is_inverted(one: _Seen, other: _Seen) -> bool:
    """Whether the left one of a pair lies to the right of the right one; R grows rightwards."""
    left, right = (one, other) if one.organ.endswith("left") else (other, one)
    return left.centre_r > right.centre_r
