"""Suggestions as a segmentation: which voxels each would change, for people to look at and to decide otherwise."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from ...core.errors import BadInputError
from ...core.labels import LabelVolume, Segment

if TYPE_CHECKING:
    from ...refinement.decision.suggestions import Suggestion, Suggestions
    from ...refinement.refined import RefinedShape

_TAG = "ReShapeIT."
_ALWAYS = -1
_COLORS = {"missing": (0.2, 0.7, 0.2), "beyond": (0.2, 0.5, 0.9), "attached": (0.9, 0.3, 0.2), "apart": (0.9, 0.6, 0.1)}


def suggestion_volume(volume: LabelVolume, shapes: Mapping[int | str, RefinedShape]) -> LabelVolume:
    """A segment for each suggestion about each organ; its voxels are those that it would add or remove.

    Args:
        volume: as given.
        shapes: of each label that was refined.
    """
    layer = np.zeros(volume.geometry.shape_kji, dtype=np.uint16)
    segments: list[Segment] = []
    for label, shape in shapes.items():
        if shape.suggestions is None:
            continue
        changes = changes_of(shape, shape.suggestions, volume)
        given, final = volume.mask(label), shape.mask(volume.geometry)
        # What goes or comes whatever is decided, as specks that lie apart once all else is taken.
        otherwise = final != given ^ np.isin(changes, list(shape.taken))
        changes[otherwise] = np.where(final != given, _ALWAYS, 0)[otherwise]
        for entry in (*shape.suggestions.entries, None):
            voxels = changes == (entry.number if entry else _ALWAYS)
            if voxels.any():
                segments.append(_segment(len(segments) + 1, label, entry, shape.taken))
                layer[voxels] = len(segments)
    return LabelVolume((layer,), volume.geometry, tuple(segments), source="suggestions")


def decided_volume(
    volume: LabelVolume,
    suggestions: LabelVolume,
    least: float | None = None,
    take: Collection[int] = (),
    leave: Collection[int] = (),
) -> LabelVolume:
    """A segmentation with another choice of its suggestions; nothing is asked or fitted again.

    Args:
        volume: as it was given to the refinement.
        suggestions: what :func:`suggestion_volume` made of it.
        least: probability above which a suggestion is taken; None leaves the choice that was made.
        take, leave: numbers of segments that are taken and left, whatever their probability.

    Raises:
        BadInputError: the two are on different grids, the second holds no suggestions, or a number is none of theirs.
    """
    if not volume.geometry.same_grid_as(suggestions.geometry):
        raise BadInputError(
            "{input} and {suggestions} are on different grids",
            "give the file that was refined",
            "decide.other_grid",
            input=volume.source,
            suggestions=suggestions.source,
        )
    known = {segment.label: segment for segment in suggestions.segments if _TAG + "Label" in segment.tags}
    for number in (*take, *leave):
        if number not in known:
            raise BadInputError(
                "{suggestions} has no suggestion {number}",
                "choose from {known}",
                "decide.unknown",
                suggestions=suggestions.source,
                number=number,
                known=", ".join(map(str, known)) or "none",
            )
    layer = suggestions.layers[0]
    changed: dict[str, list[int]] = {}
    for number, segment in known.items():
        told = {key: segment.tags[_TAG + key] for key in ("Label", "Probability", "Taken")}
        taken = told["Taken"] == "1" if least is None else float(told["Probability"]) > least
        if number in take or (taken and number not in leave):
            changed.setdefault(told["Label"], []).append(number)
    for label, numbers in changed.items():
        volume = volume.replaced(label, volume.mask(label) ^ np.isin(layer, numbers), take_from_others=False)
    return volume


def _segment(number: int, label: int | str, entry: Suggestion | None, taken: Collection[int]) -> Segment:
    """Of a suggestion; None is what is cleaned away or filled in any case."""
    told = {"Label": str(label), "Probability": "1", "Taken": "1"}
    name, color = "specks and holes", (0.6, 0.6, 0.6)
    if entry is not None:
        name, color = f"{entry.kind}, {entry.volume_ml:.1f} mL, {entry.probability:.0%}", _COLORS[entry.kind]
        told |= {"Probability": f"{entry.probability:.4f}", "Taken": str(int(entry.number in taken))}
        told["Id"] = str(entry.number)
    return Segment(number, name, f"Suggestion_{number}", color, 0, {_TAG + key: value for key, value in told.items()})


def changes_of(shape: RefinedShape, found: Suggestions, volume: LabelVolume) -> np.ndarray:
    """(K, J, I) number of the suggestion that decides about a voxel, 0 where none does."""
    from ...refinement.refine import with_suggestions

    geometry = volume.geometry
    numbers = [entry.number for entry in found.entries]
    changes = np.zeros(geometry.shape_kji, dtype=np.int32)
    if not numbers:
        return changes
    box = geometry.box_around(shape.bounds_ras)
    part = geometry.of_box(box)
    none, everything = (with_suggestions(shape, some).mask(part) for some in ((), numbers))
    where = np.argwhere(none != everything)
    # What is changed at the border of a region lies up to a cell outside of it.
    nearest = ndimage.distance_transform_edt(found.regions == 0, return_distances=False, return_indices=True)
    cells = found.geometry.ras_to_ijk_points(part.ijk_to_ras_points(where[:, ::-1]))[:, ::-1]
    at = tuple(np.clip(np.rint(cells).astype(int), 0, np.array(found.regions.shape) - 1).T)
    changes[box][tuple(where.T)] = found.regions[tuple(nearest[axis][at] for axis in range(3))]
    return changes
