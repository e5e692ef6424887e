"""What the engine tells by code and fields, in words for the user of a scene.

The engine speaks of files, labels and command-line options, the user knows segments and the panel. Nobody here looks
at an English sentence: a code that has words of its own below gets them, all others keep the engine's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

DAMAGED = "The temporary file of the segmentation is missing or damaged"
SEE_LOG = "the log has the details"
REFINE_EVEN_IF = "Refine even if it does not look like the organ"  # as the panel calls it
DRAWN_ON_FEW = "Drawn on a few slices only"  # likewise
IMAGE_NAME = "image"  # among the names of segments, what to call the volume beside them

# What the engine finds in a temporary file that was damaged.
DAMAGE = (
    "geometry.broken",
    "geometry.no_spacing",
    "input.damaged",
    "input.folder",
    "input.missing",
    "input.protected",
    "input.unreadable",
    "nrrd.field",
    "nrrd.incomplete",
    "nrrd.none",
    "seg.field",
    "seg.layer",
)
# A volume that is not the image of the segmentation.
IMAGE_ERRORS = ("image.constant", "image.in_part", "image.labels", "image.no_overlap", "image.not_finite")
# Format strings of the fields of that code.
MESSAGES = {
    **dict.fromkeys(DAMAGE, DAMAGED),
    "disk_full": "The disk with the temporary files is full",
    "cannot_write": "The refined segments cannot be written to the temporary folder ({reason})",
    "device.unusable": "The device {device} cannot be used: {reason}",
}
HINTS = {
    **dict.fromkeys(DAMAGE, f"refine again; {SEE_LOG}"),
    "disk_full": "free some space or choose another temporary folder",
    "cannot_write": "choose another temporary folder",
    "device.unusable": "choose another device",
    "implausible": f"check segment and organ, or choose '{REFINE_EVEN_IF}' (in scripts force=True)",
    "implausible.cut_off": f"take an image that holds the whole organ, or choose '{REFINE_EVEN_IF}'",
    "sparse.not_asked": f"choose '{DRAWN_ON_FEW}', or '{REFINE_EVEN_IF}'",
    "sparse.no_gap": f"switch '{DRAWN_ON_FEW}' off",
    "label.nothing_left": "check segment and organ",
    "out_of_memory": "close other programs or use a draft",
    "missing_package": f"open the ReShapeIT module and press Install; {SEE_LOG}",
    "licence.non_commercial": "confirm in the panel, or with nonCommercial=True, that your use is non-commercial",
    **dict.fromkeys(IMAGE_ERRORS, "choose the volume that was segmented, or none"),
    "unexpected": f"refine again; {SEE_LOG}",
}


@dataclass(frozen=True)
class Told:
    """An error or notice of the engine.

    :param code: says what it is about.
    :param message: what is wrong, in the engine's words.
    :param hint: what to do, likewise.
    :param template: the message with its fields not yet put in; empty where there are none.
    :param hintTemplate: likewise the hint.
    :param fields: files, labels, names and numbers by name.
    """

    code: str
    message: str
    hint: str = ""
    template: str = ""
    hintTemplate: str = ""
    fields: Mapping = field(default_factory=dict)

    @classmethod
    def of(cls, values: Mapping) -> Told:
        """What a line of the engine says.

        :raises KeyError, TypeError: it is none.
        """
        texts = (str(values.get(name) or "") for name in ("hint", "template", "hint_template"))
        return cls(str(values["code"]), str(values["message"]), *texts, dict(values.get("fields") or {}))


def inWords(told: Told, names: Mapping[str, str] | None = None) -> str:
    """One sentence for the user.

    :param told: of the engine.
    :param names: what to call the segments, by the label they have in the engine's files.
    """
    fields = dict(told.fields)
    name = (names or {}).get(str(fields.get("label")))
    if name is not None:
        fields |= {"label": name, "subject": f"segment '{name}'"}
    if "input" in fields:
        volume = f"'{names[IMAGE_NAME]}'" if names and IMAGE_NAME in names else "beside the segmentation"
        fields["input"] = volume if told.code.startswith("image.") else "the segmentation"
    message = (_worded(MESSAGES.get(told.code) or told.template, fields) or told.message).rstrip(".")
    hint = HINTS.get(told.code) or _worded(told.hintTemplate, fields) or told.hint
    sentence = f"{message}; {hint}." if hint else f"{message}."
    return sentence[:1].upper() + sentence[1:]


def _worded(template: str, fields: Mapping) -> str:
    """A template with its fields put in; empty where it wants others than there are."""
    try:
        return template.format(**fields)
    except (KeyError, IndexError, ValueError):
        return ""
