"""``--template auto``: which template belongs to which segment, by the organs that the segments' names tell."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ...core.errors import BadInputError, Notice
from ...core.label_scan import nonzero_values
from ...core.labels import LabelVolume
from ...core.organ_names import CLASS_MAPS, HIGHEST_CLASS, recognised_organ
from ...io.settings import yaml_mapping
from ...templates.store import available_templates, find_template
from ...templates.template import read_info

AUTO = "auto"
OF_THE_FILE = "file"
_MOST_LISTED = 20
_TERMINOLOGY = "TerminologyEntry"


@dataclass(frozen=True)
class Named:
    """A segment, or a mask file, as its name says what it is.

    Args:
        key: by which the job knows it: label number, segment id or file name.
        name: as its file gives it; "" where it gives none.
        label: number of its voxels; None for a mask file.
        terminology: Slicer's tag.
        empty: it has no voxels.
    """

    key: int | str
    name: str
    label: int | None = None
    terminology: str = ""
    empty: bool = False

    def __str__(self) -> str:
        return " ".join(dict.fromkeys(str(part) for part in (self.key, self.name) if part != ""))


def files_by_label(volume: LabelVolume, templates: Mapping, names: str, notice: Callable) -> dict[int | str, Path]:
    """Template file of each label of a volume that is to be refined.

    Args:
        volume: with its segments.
        templates: template name or file by label number, segment id or name; the key None stands for the only label,
            the value "auto" for the organ that the segment's name tells, {None: "auto"} for all that are recognised.
        names: see ``RefineSettings``.
        notice: told what was taken for what.

    Raises:
        BadInputError: there is no such template, nothing is recognised, or there are several labels and none is named.
    """
    if AUTO not in templates.values():
        return {only_label(volume) if w is None else w: find_template(name) for w, name in templates.items()}
    named = named_segments(volume)
    if dict(templates) == {None: AUTO}:
        return recognised_files(named, names, volume.source, notice)
    chosen: dict[int | str, Path] = {}
    for which, name in templates.items():
        if name != AUTO:
            chosen[which] = find_template(name)
            continue
        place = volume.locate(which)
        own = [one for one in named if volume.locate(one.key) == place]
        chosen |= dict.fromkeys([which], *recognised_files(own, names, volume.source, notice).values())
    return chosen


def named_by(volume: LabelVolume, names: str) -> LabelVolume:
    """The volume with segments for the labels that a list of the user's names, where its file names none.

    Args:
        volume: as read.
        names: see ``RefineSettings``.

    Raises:
        BadInputError: see :func:`user_list`.
    """
    if volume.segments or names == OF_THE_FILE:
        return volume
    listed = user_list(names, named_segments(volume), volume.source) or {}
    called = {label: organ for label in volume.label_values() if (organ := listed.get(str(label)))}
    segments = volume.with_segments(called).segments
    return replace(volume, segments=tuple(segment for segment in segments if segment.label in called))


def recognised_files(
    named: Iterable[Named], names: str, source: object, notice: Callable[[str], None]
) -> dict[int | str, Path]:
    """Template file of each segment whose name tells an organ that there is a template for.

    Args:
        named: all there are.
        names: "file", the name of a class map, or a YAML file.
        source: how messages call what holds them.
        notice: told in one sentence what was taken for what, and what was left.

    Raises:
        BadInputError: nothing is recognised, or the list of names is wrong or does not fit.
    """
    named, templates = tuple(named), available_templates()
    by_organ = {read_info(file)[0].organ: name for name, file in templates.items()}
    user_names = user_list(names, named, source)
    taken: dict[int | str, Path] = {}
    told, left = [], []
    for one in named:
        organ = recognised_organ(one.name, one.terminology, user_names, label=one.label, known=templates)
        template = organ if organ in templates else by_organ.get(organ or "", "")
        if template:
            taken[one.key] = templates[template]
            told.append(f"{one} -> {template}")
        elif not one.empty:
            left.append(str(one))
    if not taken:
        raise BadInputError(
            "{input} names no organ that there is a template for; it holds {labels}",
            "say which is which with --template LABEL=NAME,LABEL=NAME,... or with --names",
            "auto.nothing",
            input=source,
            labels=_listed(left) or "nothing",
        )
    words = "took: {taken}" + ("; left as they are: {left}" if left else "")
    notice(Notice(words, "auto.taken", taken=", ".join(told), left=_listed(left)))
    return taken


def named_segments(volume: LabelVolume) -> list[Named]:
    """The segments of a volume, and the labels that have no segment, by label number where that is unambiguous."""
    present = {(layer, label) for layer, array in enumerate(volume.layers) for label in nonzero_values(array)}
    segments = {(segment.layer, segment.label): segment for segment in volume.segments}
    numbers = [label for _, label in present | set(segments)]
    found = []
    for place in sorted(present | set(segments), key=lambda place: place[::-1]):
        segment, label = segments.get(place), place[1]
        if segment is None:
            found.append(Named(label, "", label))
            continue
        key = label if numbers.count(label) == 1 else f"id:{segment.id}"
        found.append(Named(key, segment.name, label, segment.tags.get(_TERMINOLOGY, ""), place not in present))
    return found


def user_list(names: str, named: Iterable[Named], source: object) -> dict[str, str] | None:
    """Organ by label number or name, as ``--names`` says; None where the file's own names count.

    Raises:
        BadInputError: there is no such list, it is malformed, or the labels are not those of the class map.
    """
    if names == OF_THE_FILE:
        return None
    if names not in CLASS_MAPS:
        return _from_file(names)
    strange = [str(one) for one in named if one.label is not None and one.label > HIGHEST_CLASS[names]]
    if strange:
        raise BadInputError(
            "{input} holds {labels}, but the classes of {names} end at {highest}",
            "choose another list with --names",
            "names.other_classes",
            input=source,
            labels=_listed(strange),
            names=names,
            highest=HIGHEST_CLASS[names],
        )
    numbers = {str(number): "" for number in range(1, HIGHEST_CLASS[names] + 1)}
    return numbers | dict(CLASS_MAPS[names])


def _from_file(names: str) -> dict[str, str]:
    choices = ", ".join([OF_THE_FILE, *CLASS_MAPS])
    if not Path(names).is_file():
        words = "There is no list of names {names}"
        raise BadInputError(
            words, "give a YAML file or one of {choices}", "names.missing", names=names, choices=choices
        )
    told = yaml_mapping(names, f"The list of names {names}", {})
    wrong = [key for key, organ in told.items() if isinstance(key, bool) or not isinstance(organ, str | None)]
    if wrong:
        words, hint = "The list of names {names} is malformed at '{key}'", "write lines such as '6: liver'"
        raise BadInputError(words, hint, "names.malformed", names=names, key=wrong[0])
    return {str(key).strip(): organ or "" for key, organ in told.items()}


def only_label(volume: LabelVolume) -> int:
    """The label of a volume that has a single one.

    Raises:
        BadInputError: there are several, or none.
    """
    labels = volume.label_values()
    if len(labels) > 1:
        raise BadInputError(
            "{input} holds several labels ({labels})",
            "choose one with --label N, several with --template N=NAME,N=NAME, or all known ones with --template auto",
            "label.several",
            input=volume.source,
            labels=_listed(list(map(str, labels))),
        )
    return volume.single_label()


def _listed(texts: list[str]) -> str:
    return ", ".join(texts[:_MOST_LISTED] + ["..."] * (len(texts) > _MOST_LISTED))
