"""Which template belongs to which label of a file, as a user writes it."""

from __future__ import annotations

from pathlib import Path

from ..core.errors import BadInputError


def parse_templates(text: str, label: str | None) -> dict[int | str | None, str]:
    """Template of each label from ``--template`` and ``--label``; the key None stands for the only label there is.

    Raises:
        BadInputError: the mapping is malformed or names a label twice.
    """
    which = None if label is None else _label(label)
    if "=" not in text or Path(text).is_file():
        return {which: text}
    if which is not None:
        raise BadInputError(f"--template '{text}' names labels itself; leave out --label {label}.")
    chosen: dict[int | str | None, str] = {}
    for pair in text.split(","):
        key, equals, name = (part.strip() for part in pair.partition("="))
        if not (key and equals and name):
            raise BadInputError(f"--template '{text}' is malformed at '{pair}'; write LABEL=NAME,LABEL=NAME,...")
        if _label(key) in chosen:
            raise BadInputError(f"--template '{text}' names label {key} twice; name each label once.")
        chosen[_label(key)] = name
    return chosen


def _label(text: str) -> int | str:
    """A label number where it is one, else a segment id or name."""
    return int(text) if text.strip().isdecimal() else text.strip()
