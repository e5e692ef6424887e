"""A volume made ready for a refinement, and back: pairs in one label are split, parts of organs joined to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ...core.labels import LabelVolume
from ...templates.store import find_template, known_templates
from ..inputs.by_name import AUTO, only_label
from .likeness import KnownOrgans
from .pairs import pair_of, with_parts
from .parts import joined, parse_with, propose_parts

if TYPE_CHECKING:
    from ..request import RefineJob

Label = int | str


@dataclass(frozen=True, eq=False)
class Prepared:
    """What is refined in the place of a given volume.

    Args:
        given: as read.
        volume: with a label of its own for each organ of a pair, and with the voxels of parts in the organs' labels.
        templates: template name of each label, as of ``RefineJob``.
        parts: (K, J, I) bool voxels that belong to a label's organ and stay as they are, by label.
        pairs: of each pair: index of its layer, value of its second organ and value that both had.
    """

    given: LabelVolume
    volume: LabelVolume
    templates: Mapping[Label | None, str]
    parts: Mapping[Label, np.ndarray]
    pairs: tuple[tuple[int, int, int], ...] = ()

    def restored(self, refined: LabelVolume | None) -> LabelVolume | None:
        """The refined volume with the labels of the given one: pairs in one label again, parts as they were."""
        if refined is None:
            return None
        if not self.pairs and not self.parts:
            return refined
        layers = [layer.copy() for layer in refined.layers]
        for index, second, value in self.pairs:
            layers[index][layers[index] == second] = value
        for label, mask in self.parts.items():
            index, _ = self.volume.locate(label)
            layers[index][mask] = self.given.layers[index][mask]
        typed = [layer.astype(own.dtype, copy=False) for layer, own in zip(layers, self.given.layers, strict=True)]
        return replace(refined, layers=tuple(typed), segments=self.given.segments)


def prepare(volume: LabelVolume, job: RefineJob, notice: Callable[[str], None]) -> Prepared:
    """Make a volume ready.

    Args:
        volume: as read.
        job: with templates and ``--with``.
        notice: told of a part that the volume lacks, and of labels that may be parts.

    Raises:
        BadInputError: a template, the label of a pair or ``--with`` is wrong.
    """
    given, templates = volume, _resolved(volume, job.templates, job.with_)
    parts: dict[Label, np.ndarray] = {}
    for organ, several in parse_with(job.with_, templates).items():
        volume, parts[organ] = joined(volume, organ, several, notice)
    propose_parts(volume, [label for label in templates if label is not None], notice)
    chosen: dict[Label | None, str] = {}
    pairs: list[tuple[int, int, int]] = []
    for label, name in templates.items():
        pair = pair_of(name)
        if pair is None or label is None:
            chosen[label] = name
            continue
        index, value = volume.locate(label)
        organs = _organ(pair[0]), _organ(pair[1])
        volume, own = with_parts(volume, label, pair, organs, KnownOrgans(known_templates()))
        chosen.update(own.items())
        pairs.append((index, volume.locate(list(own)[1])[1], value))
        whole = parts.pop(label, None)
        if whole is not None:
            parts |= {key: mask for key in own if (mask := whole & volume.mask(key)).any()}
    return Prepared(given, volume, chosen, parts, tuple(pairs))


def _resolved(volume: LabelVolume, templates: Mapping[Label | None, str], with_: str) -> dict[Label | None, str]:
    """The templates with the only label there is, parts apart, in the place of None where that matters."""
    name = templates.get(None)
    if name is None or name == AUTO or (not with_.strip() and pair_of(name) is None):
        return dict(templates)
    parts = () if "=" in with_ or not with_.strip() else parse_with(with_, {0: name})[0]
    left = [label for label in volume.label_values() if not {label, str(label)} & set(parts)]
    return {left[0] if len(left) == 1 else only_label(volume): name}


def _organ(template: str) -> str:
    """The organ of a template given by name or file."""
    from ...templates.template import read_info

    return read_info(find_template(template))[0].organ
