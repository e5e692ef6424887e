"""Labels that belong to an organ: tumours and cysts (``--with``), and pieces of it that have its neighbour's label."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from ...core.errors import BadInputError, ImplausibleError, Notice, label_subject
from ...core.geometry import ImageGeometry
from ...core.label_scan import extent
from ...core.labels import LabelVolume
from ...refinement.components import SMALL_COMPONENT_GAP_MM
from ..labels import parsed_label
from .likeness import KnownOrgans, is_solid, points_of, voxel_moments
from .removed import LEAST_TOLD_ML

Label = int | str
_NEIGHBOURS = np.ones((3, 3, 3), dtype=bool)
_FEWEST_VOXELS = 64
_TOUCHED = 0.2  # of what lies around a label; neighbouring organs touch with less


def parse_with(text: str, labels: Mapping[Label | None, object]) -> dict[Label, tuple[Label, ...]]:
    """Labels that belong to each organ, from ``--with``: ``2,3`` for a single organ, else ``1=2+3,4=5``.

    Args:
        text: as the user wrote it; "" for nothing.
        labels: of the organs; the key None stands for others, which their names tell.

    Raises:
        BadInputError: it is malformed, names a label that is no organ's, or an organ or a part twice.
    """
    if not text.strip():
        return {}
    found: dict[Label, tuple[Label, ...]] = {}
    if "=" not in text:
        if len(labels) > 1 or None in labels:
            words, hint = "--with '{text}' does not say to which organ it belongs", "write --with ORGAN=N+N,ORGAN=N"
            raise BadInputError(words, hint, "with.which_organ", text=text)
        named = tuple(parsed_label(one) for one in text.replace("+", ",").split(","))
        found = {label: named for label in labels if label is not None}
    for pair in text.split(",") if "=" in text else ():
        key, _, names = (part.strip() for part in pair.partition("="))
        if not key or not names or parsed_label(key) in found:
            words, hint = "--with '{text}' is malformed at '{pair}'", "write --with ORGAN=N+N,ORGAN=N"
            raise BadInputError(words, hint, "with.malformed", text=text, pair=pair)
        found[parsed_label(key)] = tuple(parsed_label(one) for one in names.split("+"))
    parts = [one for several in found.values() for one in several]
    twice = [one for one in parts if parts.count(one) > 1 or one in labels or one == ""]
    if twice:
        words, hint = "--with '{text}' names '{label}' twice, or it is an organ to refine", "name each label once"
        raise BadInputError(words, hint, "with.twice", text=text, label=twice[0])
    strangers = [key for key in found if key not in labels and None not in labels]
    if strangers:
        words, hint = "--with '{text}' names '{label}', which has no template", "add it to --template"
        raise BadInputError(words, hint, "with.no_organ", text=text, label=strangers[0])
    return found


def propose_parts(volume: LabelVolume, labels: Collection[Label], notice: Callable[[str], None]) -> None:
    """Tell of labels that are not refined and lie in or at an organ that is: they may be its tumours or cysts.

    Args:
        volume: with the parts of ``--with`` in the organs' labels already.
        labels: of the organs.
        notice: called with a sentence for each.
    """
    organs: dict[tuple[int, int], Label] = {}
    for label in labels:
        with suppress(BadInputError):  # that an organ is absent is told elsewhere
            organs[volume.locate(label)] = label
    for index, layer in enumerate(volume.layers):
        own = {value: label for (of_layer, value), label in organs.items() if of_layer == index}
        for value in volume.label_values() if own else ():
            if value in own or (index, value) in organs:
                continue
            box, count = extent(layer, value)
            if count < _FEWEST_VOXELS:
                continue
            around = tuple(slice(max(0, s.start - 1), s.stop + 1) for s in box)
            mask = layer[around] == value
            shell = layer[around][ndimage.binary_dilation(mask, _NEIGHBOURS) & ~mask]
            for organ, label in own.items():
                touched = np.count_nonzero(shell == organ)
                if touched > _TOUCHED * len(shell) and 2 * touched > np.count_nonzero(shell):
                    volume_ml = count * volume.geometry.voxel_volume_mm3 / 1000.0
                    words = (
                        "label '{label}' of {input} ({volume_ml:.1f} mL) lies in or at '{organ}' and stays as it is; "
                        "if it is a tumour or cyst of it, add --with {label} so that it counts for the shape."
                    )
                    told = {"label": value, "input": volume.source, "volume_ml": volume_ml, "organ": label}
                    notice(Notice(words, "with.proposed", **told))


def joined(
    volume: LabelVolume, organ: Label, parts: tuple[Label, ...], notice: Callable[[str], None]
) -> tuple[LabelVolume, np.ndarray]:
    """The volume with the voxels of ``parts`` in the organ's label, and these voxels as a (K, J, I) bool mask.

    Voxels where the organ's layer holds another label stay. ``notice`` is told of a part that the volume lacks.

    Raises:
        BadInputError: there is no segment of the organ, or several.
    """
    index, value = volume.locate(organ)
    layer = volume.layers[index].copy()
    taken = np.zeros(layer.shape, dtype=bool)
    for part in parts:
        try:
            place = volume.locate(part)
        except BadInputError:
            words = "{input} has no label '{label}', so nothing of it is joined to '{organ}'."
            notice(Notice(words, "with.absent", input=volume.source, label=part, organ=organ))
            continue
        mask = volume.layers[place[0]] == place[1]
        taken |= mask if place[0] == index else mask & np.isin(layer, (0, value))
    layer[taken] = value
    return replace(volume, layers=(*volume.layers[:index], layer, *volume.layers[index + 1 :])), taken


@dataclass(frozen=True, eq=False)
class MisplacedPiece:
    """A piece of one organ that has the label of another one.

    Args:
        label: that it has.
        owner: label of the organ that it touches and completes.
        owner_organ: of the owner's template.
        volume_ml: of its voxels.
        gap_mm: to the rest of its label.
        mask: (K, J, I) bool voxels in the volume.
    """

    label: Label
    owner: Label
    owner_organ: str
    volume_ml: float
    gap_mm: float
    mask: np.ndarray

    def error(self, source: str) -> ImplausibleError:
        """What the user is told where the piece is not to be moved."""
        return ImplausibleError(
            "{subject} has a piece of {volume} mL that touches label '{owner}' ({organ}) and lies {gap} mm from the "
            "rest of '{label}'",
            "use --relabel to move it to '{owner}', or --force to refine it where it is",
            "label.piece_of_another",
            **self._fields(source),
        )

    def moved(self, source: str) -> Notice:
        """What the user is told where it was moved."""
        words = "{volume} mL of label '{label}' were moved to label '{owner}' ({organ}), which they touch."
        return Notice(words, "label.piece_moved", **self._fields(source))

    def _fields(self, source: str) -> dict:
        return {
            "subject": label_subject(self.label, source),
            "label": self.label,
            "owner": self.owner,
            "organ": self.owner_organ,
            "volume": f"{self.volume_ml:.1f}",
            "gap": round(self.gap_mm),
            "input": source,
        }


def misplaced_pieces(volume: LabelVolume, organs: Mapping[Label, str], known: KnownOrgans) -> list[MisplacedPiece]:
    """Pieces that lie away from the rest of their label, touch another organ and make that one more like itself.

    Args:
        volume: the labels.
        organs: organ of each label that is refined.
        known: organs to compare with.
    """
    found: list[MisplacedPiece] = []
    present = [label for label in organs if _has_voxels(volume, label)]
    for label in present if len(present) > 1 else ():
        box, _ = volume.extent(label)
        sizes = volume.geometry.shape_kji
        k, j, i = (slice(max(0, s.start - 1), min(n, s.stop + 1)) for s, n in zip(box, sizes, strict=True))
        part = volume.cropped((k, j, i))
        for mask, gap_mm in _stray_pieces(part.mask(label), part.geometry):
            owner = _owner(part, volume, mask, label, present, organs, known)
            if owner is not None:
                whole = np.zeros(volume.geometry.shape_kji, dtype=bool)
                whole[k, j, i] = mask
                volume_ml = float(mask.sum() * part.geometry.voxel_volume_mm3 / 1000.0)
                found.append(MisplacedPiece(label, owner, organs[owner], volume_ml, gap_mm, whole))
    return found


def with_piece_moved(volume: LabelVolume, piece: MisplacedPiece) -> LabelVolume:
    """The volume with the piece in its owner's label."""
    (old, _), (new, value) = volume.locate(piece.label), volume.locate(piece.owner)
    layers = [layer.copy() if index in (old, new) else layer for index, layer in enumerate(volume.layers)]
    layers[old][piece.mask] = 0
    layers[new][piece.mask] = value
    return replace(volume, layers=tuple(layers))


def _has_voxels(volume: LabelVolume, label: Label) -> bool:
    try:
        return volume.extent(label)[1] > 0
    except BadInputError:  # told where the label is refined
        return False


def _stray_pieces(mask: np.ndarray, geometry: ImageGeometry) -> list[tuple[np.ndarray, float]]:
    """Components over ``LEAST_TOLD_ML`` that lie apart from the largest one, and how far (mm)."""
    pieces, count = ndimage.label(mask, structure=_NEIGHBOURS)
    if count < 2:
        return []
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    main = int(sizes.argmax())
    sizes[main] = 0
    large = np.flatnonzero(sizes * geometry.voxel_volume_mm3 / 1000.0 > LEAST_TOLD_ML)
    if not len(large):
        return []
    away_mm = ndimage.distance_transform_edt(pieces != main, geometry.spacing_mm[::-1])
    apart = [(pieces == number, float(away_mm[pieces == number].min())) for number in large]
    return [(piece, gap_mm) for piece, gap_mm in apart if gap_mm > SMALL_COMPONENT_GAP_MM]


def _owner(
    part: LabelVolume,
    volume: LabelVolume,
    piece: np.ndarray,
    label: Label,
    present: list[Label],
    organs: Mapping[Label, str],
    known: KnownOrgans,
) -> Label | None:
    """The label that a stray piece touches most and whose organ it makes more like itself; None where there is none."""
    rim = ndimage.binary_dilation(piece, _NEIGHBOURS) & ~piece
    # The part around the label may hold no voxel of another one, which only the whole volume then knows.
    places = {other: volume.locate(other) for other in present if other != label}
    touched = {o: np.count_nonzero((part.layers[layer] == value) & rim) for o, (layer, value) in places.items()}
    owner = max(touched, key=touched.__getitem__, default=None)
    if owner is None or not touched[owner]:
        return None
    voxel_mm3 = volume.geometry.voxel_volume_mm3
    of_owner = points_of(volume.mask(owner), volume.geometry)
    both = np.concatenate([of_owner, points_of(piece, part.geometry)])
    if not is_solid(of_owner):
        return None
    alone, together = (known.distances(voxel_moments(points, voxel_mm3)) for points in (of_owner, both))
    organ = organs[owner]
    return owner if together.get(organ, np.inf) < alone.get(organ, np.inf) else None
