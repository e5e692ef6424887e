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
    include: np.ndarray | None = None,
    exclude: np.ndarray | None = None,
) -> LabelVolume:
    """A segmentation with another choice of its suggestions; nothing is asked or fitted again.

    Args:
        volume: as it was given to the refinement.
        suggestions: what :func:`suggestion_volume` made of it.
        least: probability above which a suggestion is taken; None leaves the choice that was made.
        take, leave: numbers of segments that are taken and left, whatever their probability.
        include, exclude: (N, 3) RAS mm, points that are organ, and that are not: the suggestions that they lie in are
            taken or left so.

    Raises:
        BadInputError: the two are on different grids, the second holds no suggestions, a number is none of theirs, or
            a point lies on the wrong side outside of all suggestions.
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
    for points, wanted in ((include, True), (exclude, False)):
        for point in () if points is None else points:
            number = _suggestion_at(point, volume, suggestions, wanted)
            if number:
                given = bool(volume.mask(known[number].tags[_TAG + "Label"])[_voxel(point, volume)])
                take, leave = ((*take, number), leave) if given != wanted else (take, (*leave, number))
    changed: dict[str, list[int]] = {}
    for number, segment in known.items():
        told = {key: segment.tags[_TAG + key] for key in ("Label", "Probability", "Taken")}
        taken = told["Taken"] == "1" if least is None else float(told["Probability"]) > least
        if number in take or (taken and number not in leave):
            changed.setdefault(told["Label"], []).append(number)
    for label, numbers in changed.items():
        volume = volume.replaced(label, volume.mask(label) ^ np.isin(layer, numbers), take_from_others=False)
    return volume


def _voxel(point: np.ndarray, volume: LabelVolume) -> tuple[int, ...]:
    """(k, j, i) of the voxel that a point lies in.

    Raises:
        BadInputError: it lies outside the image.
    """
    kji = np.rint(volume.geometry.ras_to_ijk_points(np.asarray(point)[None])[0])[::-1].astype(int)
    if (kji < 0).any() or (kji >= volume.geometry.shape_kji).any():
        words, hint = "The point {point} lies outside of {input}", "set it on the organ"
        told = tuple(round(float(x), 1) for x in point)
        raise BadInputError(words, hint, "decide.point_outside", point=told, input=volume.source)
    return tuple(int(index) for index in kji)


def _suggestion_at(point: np.ndarray, volume: LabelVolume, suggestions: LabelVolume, wanted: bool) -> int:
    """Number of the suggestion that a point lies in; 0 where it lies in none and on the right side already."""
    at = _voxel(point, volume)
    number = int(suggestions.layers[0][at])
    if not number and any(layer[at] != 0 for layer in volume.layers) != wanted:
        words, hint = "The point {point} lies in no suggestion", "refine again with --include or --exclude"
        raise BadInputError(words, hint, "decide.point", point=tuple(round(float(x), 1) for x in point))
    return number


def _segment(number: int, label: int | str, entry: Suggestion | None, taken: Collection[int]) -> Segment:
    """Of a suggestion; None is what is cleaned away or filled in any case."""
    told = {"Label": str(label), "Probability": "1", "Taken": "1"}
    name, color = "specks, holes, points, the image", (0.6, 0.6, 0.6)
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
