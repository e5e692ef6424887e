"""The value type for a segmentation: integer voxels, where they lie, and what the labels mean."""

from __future__ import annotations

import colorsys
import dataclasses
import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from .errors import BadInputError, Notice
from .geometry import ImageGeometry
from .label_layers import distinct_values, first_overlaps, merged
from .label_scan import extent, nonzero_values
from .label_values import integer_labels

_KINDS = ("id", "name", "label")  # prefixes by which a user says what a text is


@dataclass(frozen=True)
class Segment:
    """What one label value means.

    Args:
        label: voxel value in its layer.
        name: what the user reads.
        id: what Slicer calls it internally; unique in a file.
        color: red, green, blue in 0..1, or None where the file gives none.
        layer: index of the layer that holds its voxels.
        tags: Slicer's segment tags (terminology, status ...).
        extra: other ``Segment<n>_`` header fields, verbatim.
    """

    label: int
    name: str
    id: str
    color: tuple[float, ...] | None = None
    layer: int = 0
    tags: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class LabelVolume:
    """A segmentation.

    Args:
        layers: integer arrays (K, J, I), read-only; more than one only where segments overlap. 0 is background.
        geometry: where the voxels lie.
        segments: names, ids and colours; empty for plain label maps.
        header: other key/value pairs of the file, kept so that writing it again loses nothing.
        source: how messages name this volume, usually the file name.
        file_header: what else the file's format holds; ``io`` alone knows what it means.
        notices: what the user should know about how the file was read.
    """

    layers: tuple[np.ndarray, ...]
    geometry: ImageGeometry
    segments: tuple[Segment, ...] = ()
    header: Mapping[str, str] = field(default_factory=dict)
    source: str = "the label volume"
    file_header: object | None = None
    notices: tuple[Notice, ...] = ()

    def __post_init__(self) -> None:
        layers = []
        for given in self.layers:
            layer = np.asarray(given).view()
            if layer.shape != self.geometry.shape_kji:
                raise ValueError(f"a layer has shape {layer.shape}, its geometry {self.geometry.shape_kji}")
            if not np.issubdtype(layer.dtype, np.integer):
                raise ValueError(f"a layer holds {layer.dtype}: labels are integers (see integer_labels)")
            layer.setflags(write=False)
            layers.append(layer)
        if not layers:
            raise ValueError("a label volume needs at least one layer")
        object.__setattr__(self, "layers", tuple(layers))
        object.__setattr__(self, "segments", tuple(self.segments))

    @classmethod
    def from_array(cls, array: np.ndarray, geometry: ImageGeometry, source: str = "the label volume") -> LabelVolume:
        """A volume of one layer from a (K, J, I) array of integers, booleans or floats with integer values."""
        return cls((integer_labels(array, source),), geometry, source=source)

    def label_values(self) -> tuple[int, ...]:
        """The non-zero labels that have voxels, ascending, over all layers."""
        return tuple(sorted({label for _, label in self._present}))

    def single_label(self) -> int:
        """The label, where there is exactly one that has voxels.

        Raises:
            BadInputError: there is none, or there are several.
        """
        present = self._present
        if not present:
            raise BadInputError(
                "{input} holds no labels, all its voxels are 0", "choose another file", "labels.none", input=self.source
            )
        if len(present) > 1:
            raise BadInputError(
                "{input} holds several labels ({labels})",
                "say which one to use",
                "labels.several",
                input=self.source,
                labels=self._described(),
            )
        return present[0][1]

    def mask(self, which: int | str) -> np.ndarray:
        """(K, J, I) bool voxels of one segment, given by label number, segment id or name.

        Raises:
            BadInputError: there is no such segment, or the number or name fits several.
        """
        layer, label = self.locate(which)
        return self.layers[layer] == label

    def extent(self, which: int | str) -> tuple[tuple[slice, slice, slice], int]:
        """Smallest box (k, j, i) that holds a segment (see ``mask``), and how many voxels it has."""
        layer, label = place = self.locate(which)
        if place not in self._extents:
            self._extents[place] = extent(self.layers[layer], label)
        return self._extents[place]

    def cropped(self, box: tuple[slice, slice, slice]) -> LabelVolume:
        """The part in a (k, j, i) box, without a copy of its voxels."""
        geometry = self.geometry.of_box(box)
        return dataclasses.replace(self, layers=tuple(layer[box] for layer in self.layers), geometry=geometry)

    def around(self, which: int | str, room: int = 1) -> LabelVolume:
        """The part around a segment, with ``room`` voxels on every side where the volume has them."""
        box, shape = self.extent(which)[0], self.geometry.shape_kji
        k, j, i = (slice(max(0, s.start - room), min(n, s.stop + room)) for s, n in zip(box, shape, strict=True))
        return self.cropped((k, j, i))

    def pasted(self, box: tuple[slice, slice, slice], part: LabelVolume) -> LabelVolume:
        """A copy with the voxels of a (k, j, i) box from ``part``, which ``cropped`` gave and others changed."""
        layers = []
        for whole, changed in zip(self.layers, part.layers, strict=True):
            layers.append(whole.copy())
            layers[-1][box] = changed
        return dataclasses.replace(self, layers=tuple(layers))

    def replaced(self, which: int | str, mask: np.ndarray, *, take_from_others: bool = True) -> LabelVolume:
        """A copy in which the voxels of one segment are ``mask`` ((K, J, I) bool); all else stays.

        Voxels the segment leaves become background. Voxels of its neighbours in the same layer that ``mask``
        covers change hands only with ``take_from_others``; other layers overlap on purpose and are not touched.
        """
        mask = np.asarray(mask)
        if mask.shape != self.geometry.shape_kji or mask.dtype != bool:
            raise ValueError(f"the mask must be bool of shape {self.geometry.shape_kji}")
        index, label = self.locate(which)
        old = self.layers[index]
        new = old.copy()
        new[(old == label) & ~mask] = 0
        new[mask if take_from_others else mask & (old == 0)] = label
        return dataclasses.replace(self, layers=(*self.layers[:index], new, *self.layers[index + 1 :]))

    def in_one_layer(self) -> LabelVolume:
        """The volume as formats without layers hold it: of segments that share a number all but one get a new one.

        Raises:
            BadInputError: segments overlap.
        """
        if len(self.layers) == 1:
            return self
        places = {*self._present, *((s.layer, s.label) for s in self.segments)}
        names = {(s.layer, s.label): s.name for s in self.segments}
        pairs = [" and ".join(names.get(p, str(p[1])) for p in pair) for pair in first_overlaps(self.layers)]
        if pairs:
            words = "{input} has overlapping segments ({segments}), which only a .seg.nrrd file can hold"
            hint = "write .seg.nrrd"
            raise BadInputError(words, hint, "segments.overlap", input=self.source, segments=", ".join(pairs))
        called = {int(text) for s in self.segments for text in (s.id, s.name) if text.strip().isdecimal()}
        values = distinct_values(places, called)
        segments = tuple(
            dataclasses.replace(s, layer=0, label=values[s.layer, s.label]) for s in self.segments if s.label != 0
        )
        told = [f"{names.get(p, p[1])} {p[1]} -> {new}" for p, new in values.items() if new != p[1]]
        words = "{input} has layers, which the output does not hold; new label numbers: {labels}."
        notices = (Notice(words, "labels.renumbered", input=self.source, labels=", ".join(told)),) if told else ()
        layers = (merged(self.layers, values),)
        return dataclasses.replace(self, layers=layers, segments=segments, notices=(*self.notices, *notices))

    def flattened(self) -> np.ndarray:
        """(K, J, I) labels of all layers in one array, see :meth:`in_one_layer`."""
        return self.in_one_layer().layers[0]

    def with_segments(self, names: Mapping[int, str] | None = None) -> LabelVolume:
        """A copy in which every label that has voxels is a segment; ``names`` (label to name) fill in or rename."""
        names = names or {}
        segments = [dataclasses.replace(s, name=names.get(s.label, s.name)) for s in self.segments]
        known = {(s.layer, s.label) for s in segments}
        taken_ids = {s.id for s in segments}
        for layer, label in self._present:
            if (layer, label) not in known:
                new_id = next(i for i in _id_candidates(label) if i not in taken_ids)
                taken_ids.add(new_id)
                color = _color(label)
                segments.append(Segment(label, names.get(label, f"Segment_{label}"), new_id, color, layer))
        return dataclasses.replace(self, segments=tuple(segments))

    def locate(self, which: int | str) -> tuple[int, int]:
        """Layer index and label of a segment.

        Args:
            which: an integer is a label number, or an id or name where no label has that number. A text is an id, a
                name or a label number; with ``id:``, ``name:`` or ``label:`` before it, it is that alone.

        Raises:
            BadInputError: there is no such segment, or there are several.
        """
        if isinstance(which, str):
            found = self._places_called(which)
        else:
            found = self._places_of("label", str(operator.index(which))) or self._places_called(str(which))
        if not found:
            words, hint = "{input} has no segment {which!r}", "choose from {choices}"
            choices = self._described()
            raise BadInputError(words, hint, "label.unknown", input=self.source, which=which, choices=choices)
        if len(found) > 1:
            words, hint = "{input} has several segments {which!r}", "choose one of {choices}"
            choices = ", ".join(self._unambiguous(place) for place in sorted(found))
            raise BadInputError(words, hint, "label.ambiguous", input=self.source, which=which, choices=choices)
        return found.pop()

    def _places_called(self, text: str) -> set[tuple[int, int]]:
        """(layer, label) of the segments that a user may mean by a text."""
        kind, colon, rest = text.partition(":")
        if colon and kind in _KINDS:
            return self._places_of(kind, rest)
        return set().union(*(self._places_of(kind, text) for kind in _KINDS))

    def _places_of(self, kind: str, text: str) -> set[tuple[int, int]]:
        """(layer, label) of the segments of that id, name or label number."""
        if kind != "label":
            return {(s.layer, s.label) for s in self.segments if getattr(s, kind) == text}
        text = text.strip()
        if not text.lstrip("-").isdecimal():
            return set()
        named = {(s.layer, s.label) for s in self.segments if s.label == int(text)}
        return named | {place for place in self._present if place[1] == int(text)}

    def _unambiguous(self, place: tuple[int, int]) -> str:
        """A text by which ``locate`` finds one place only."""
        for segment in self.segments:
            if (segment.layer, segment.label) == place:
                texts = f"name:{segment.name}", f"id:{segment.id}"
                return next((text for text in texts if len(self._places_called(text)) == 1), texts[1])
        return f"label:{place[1]}"

    @cached_property
    def _extents(self) -> dict[tuple[int, int], tuple[tuple[slice, slice, slice], int]]:
        """What ``extent`` found so far."""
        return {}

    @cached_property
    def _present(self) -> list[tuple[int, int]]:
        """(layer, label) of all labels that have voxels."""
        return [(index, label) for index, layer in enumerate(self.layers) for label in nonzero_values(layer)]

    def _described(self) -> str:
        """The choices a user has, for messages."""
        names = {(s.layer, s.label): f"{s.label} {s.name!r} (id {s.id!r})" for s in self.segments}
        places = sorted(set(self._present) | set(names))
        shown = [names.get(place, str(place[1])) for place in places[:20]]
        return ", ".join(shown + ["..."] * (len(places) > 20)) or "nothing, all voxels are 0"


def _id_candidates(label: int) -> Iterator[str]:
    """Segment ids to try, as Slicer names them."""
    yield f"Segment_{label}"
    number = 1
    while True:
        yield f"Segment_{label}_{number}"
        number += 1


def _color(label: int) -> tuple[float, float, float]:
    """A colour for a label; the golden ratio keeps the hues of neighbouring labels apart."""
    return colorsys.hsv_to_rgb((label * 0.6180339887498949) % 1.0, 0.55, 0.9)
