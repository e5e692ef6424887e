"""Which template belongs to which label of a file, as a user writes it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import BadInputError

if TYPE_CHECKING:
    from ..core.labels import LabelVolume


def parse_templates(text: str, label: str | None) -> dict[int | str | None, str]:
    """Template of each label from ``--template`` and ``--label``; the key None stands for the only label there is.

    Raises:
        BadInputError: the mapping is malformed or names a label twice.
    """
    which = None if label is None else parsed_label(label)
    if "=" not in text or Path(text).is_file():
        return {which: text}
    if which is not None:
        raise BadInputError(
            "--template '{text}' names labels itself",
            "leave out --label {label}",
            "template.label_too",
            text=text,
            label=label,
        )
    chosen: dict[int | str | None, str] = {}
    for pair in text.split(","):
        key, equals, name = (part.strip() for part in pair.partition("="))
        if not (key and equals and name):
            raise BadInputError(
                "--template '{text}' is malformed at '{pair}'",
                "write LABEL=NAME,LABEL=NAME with a comma between pairs",
                "template.malformed",
                text=text,
                pair=pair,
            )
        if parsed_label(key) in chosen:
            raise BadInputError(
                "--template '{text}' names label {label} twice",
                "name each label once",
                "template.twice",
                text=text,
                label=key,
            )
        chosen[parsed_label(key)] = name
    return chosen


def parsed_label(text: str) -> int | str:
    """A label as a user writes it: a number where it is one, else a segment id or name."""
    return int(text) if text.strip().isdecimal() else text.strip()


def check_labels(volume: LabelVolume, labels: Iterable[int | str | None]) -> None:
    """Refuse labels that fit several segments; a label that fits none may be absent.

    Raises:
        BadInputError: the number, id or name of one fits several.
    """
    for label in labels:
        try:
            if label is not None:
                volume.locate(str(label))
        except BadInputError as error:
            if error.code == "label.ambiguous":
                raise


def parsed_threshold(text: str) -> float | None:
    """The number of ``--threshold``; None where it is not given.

    Raises:
        BadInputError: it is no number.
    """
    if not text:
        return None
    try:
        return float(text)
    except ValueError as error:
        words, hint = "--threshold '{threshold}' is no number", "give 0.5, for example"
        raise BadInputError(words, hint, "threshold.no_number", threshold=text) from error
