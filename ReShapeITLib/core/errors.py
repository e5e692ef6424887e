"""What can go wrong, with the exit code the command line gives for it.

Every message is one sentence or two: what is wrong with which input, and what to do about it. Programs do not read
sentences: they know an error by its ``code``, and what it is about by its ``fields``.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping

# Codes that programs act on; every other code only says which sentence it is.
CANNOT_WRITE, DISK_FULL, MISSING_PACKAGE, NON_COMMERCIAL = (
    "cannot_write",
    "disk_full",
    "missing_package",
    "licence.non_commercial",
)
OUT_OF_MEMORY, DEVICE_UNUSABLE = "out_of_memory", "device.unusable"


class ReShapeITError(Exception):
    """Base of all errors that are told to the user without a traceback.

    ``str(error)`` is the whole sentence, "message; hint."

    Args:
        message: what is wrong. Where ``fields`` are given it is a format string of them, without a full stop; the
            field ``subject`` ("label '3' of case.nrrd") gets a capital letter where the message begins with it.
        hint: what to do, likewise a format string; "" where the message says that, too.
        code: stands for this message; "" for the code of the class.
        fields: the files, labels, names and numbers that the message is about.

    Attributes:
        template, hint_template: message and hint with their fields not yet put in; "" where there are none.

    Example:
        >>> error = BadInputError("{subject} is empty", "choose another", "label.empty", subject="label '3' of a.nrrd")
        >>> str(error), error.code
        ("Label '3' of a.nrrd is empty; choose another.", 'label.empty')
    """

    exit_code = 1
    code = "failed"

    def __init__(self, message: str = "", hint: str = "", code: str = "", **fields: object) -> None:
        self.message, self.hint, self.fields = worded(message, fields), worded(hint, fields), fields
        self.template, self.hint_template = (message, hint) if fields else ("", "")
        if code:
            self.code = code
        whole = self.message
        if fields or hint:
            whole += f"; {self.hint}." if hint else "."
        super().__init__(whole)

    def about(self, code: str = "", **fields: object) -> ReShapeITError:
        """The same error with more, or other, fields; ``code`` counts where it has only that of its class."""
        code = self.code if self.code != type(self).code else code
        if self.template:
            return type(self)(self.template, self.hint_template, code, **{**self.fields, **fields})
        told = type(self)(self.message, self.hint, code)  # its braces are the user's, not ours
        told.fields = {**self.fields, **fields}
        return told

    def as_dict(self) -> dict:
        """Plain values for programs: code, message, hint, template, hint_template, fields and exit_code."""
        told = {"code": self.code, "message": self.message, "hint": self.hint, "template": self.template}
        fields = {name: plain(value) for name, value in self.fields.items()}
        return told | {"hint_template": self.hint_template, "fields": fields, "exit_code": self.exit_code}


class BadInputError(ReShapeITError):
    """The input or the usage is wrong."""

    exit_code = 2
    code = "bad_input"


class ImplausibleError(ReShapeITError):
    """The input does not look like the organ of the template (``--force`` overrides)."""

    exit_code = 3
    code = "implausible"


class CancelledError(ReShapeITError):
    """The user cancelled; nothing was written."""

    exit_code = 130
    code = "cancelled"


class Notice(str):
    """A sentence for the user beside the result.

    Args:
        message: where ``fields`` are given a format string of them.
        code: by which programs know it.
        fields: names and the like that the sentence is about.
    """

    code: str
    template: str
    fields: dict[str, object]

    def __new__(cls, message: str, code: str = "notice", **fields: object) -> Notice:
        """A string that carries code, template and fields."""
        notice = super().__new__(cls, worded(message, fields))
        notice.code, notice.template, notice.fields = code, message if fields else "", fields
        return notice

    def as_dict(self) -> dict:
        """Plain values for programs: code, message, template and fields."""
        fields = {name: plain(value) for name, value in self.fields.items()}
        return {"code": self.code, "message": str(self), "template": self.template, "fields": fields}


def label_subject(label: object, source: object) -> str:
    """How messages call one label of a file."""
    return f"label '{label}' of {source}"


def worded(template: str, fields: Mapping) -> str:
    """A message with its fields put in; without fields it is taken as it stands, braces and all."""
    if not fields:
        return template
    subject = str(fields.get("subject", ""))
    if template.startswith("{subject}"):
        subject = subject[:1].upper() + subject[1:]
    return template.format(**{**fields, "subject": subject})


def plain(value: object) -> object:
    """A field's value as JSON holds it; it has no numbers that are not finite."""
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value)
