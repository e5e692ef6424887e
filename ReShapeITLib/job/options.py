"""The options of a refinement, declared once: name, type, choices or range, default, help and where each is offered.

The command line, batches and the command-line module take their arguments from here; the panel and the module's XML
cannot import the library and are checked against it (Testing/Unit/test_one_face.py). To print the module's elements::

    python -m ReShapeITLib.job.options

Nothing heavy is imported here: ``--help`` must be quick.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from html import escape
from typing import Any

from ..core.errors import BadInputError

PRESETS = ("draft", "standard", "fine")  # the keys of refinement.options.REFINE_PRESETS, without what they load
ALIGNMENTS = ("cpd", "pycpd")
DEVICES = ("auto", "cpu", "cuda", "mps")

COMMAND, BATCH, PYTHON = "reshapeit refine", "reshapeit batch", "ReShapeITLib.refine"
PANEL, CONSOLE, MODULE = "panel", "Slicer's Python console", "command-line module"
LIBRARY, SLICER = (COMMAND, BATCH, PYTHON), (PANEL, CONSOLE, MODULE)


@dataclass(frozen=True)
class Option:
    """One option.

    Args:
        help: one sentence without capital and full stop.
        places: where it is offered, of COMMAND, BATCH, PYTHON, PANEL, CONSOLE and MODULE.
        label: its name in the panel and in the command-line module.
        choices: all values; empty where there are others.
        least, most: range of a whole number.
        metavar: what stands for a free text.
        name: as Python writes it.
        default: its type is the option's: bool, int or str.
    """

    help: str
    places: tuple[str, ...]
    label: str = ""
    choices: tuple[str, ...] = ()
    least: int = 0
    most: int = 2**31 - 1
    metavar: str | None = None
    name: str = ""
    default: bool | int | str = ""

    @property
    def flag(self) -> str:
        """As the command line writes it."""
        # A keyword of Python has an underscore at its end.
        return f"--{self.name.rstrip('_').replace('_', '-')}"

    @property
    def slicer_name(self) -> str:
        """As Slicer's side writes it."""
        return re.sub("_(.)", lambda letter: letter[1].upper(), self.name)

    def argument(self) -> dict[str, Any]:
        """Keywords for ``ArgumentParser.add_argument``."""
        about: dict[str, Any] = {"dest": self.name, "help": self.help}
        if isinstance(self.default, bool):
            return {**about, "action": "store_true"}
        about |= {"default": self.default, "help": f"{self.help} (default: {self.default or 'none'})"}
        if isinstance(self.default, int):
            return {**about, "type": self._number, "metavar": "N"}
        return {**about, "choices": self.choices} if self.choices else {**about, "metavar": self.metavar}

    def xml(self) -> str:
        """The parameter element of the command-line module."""
        kind = {bool: "boolean", int: "integer", str: "string-enumeration"}[type(self.default)]
        texts = {"name": self.slicer_name, "label": self.label, "longflag": self.slicer_name}
        lines = [f"  <{tag}>{escape(text, quote=False)}</{tag}>" for tag, text in texts.items()]
        lines.append(f"  <description><![CDATA[{self.help[0].upper()}{self.help[1:]}.]]></description>")
        lines.append(f"  <default>{str(self.default).lower()}</default>")
        lines += [f"  <element>{escape(choice, quote=False)}</element>" for choice in self.choices]
        if kind == "integer":
            limits: dict[str, int] = {"minimum": self.least, "maximum": self.most, "step": 1}
            inner = [f"    <{tag}>{value}</{tag}>" for tag, value in limits.items()]
            lines += ["  <constraints>", *inner, "  </constraints>"]
        return "\n".join([f"<{kind}>", *lines, f"</{kind}>"])

    def _number(self, text: str) -> int:
        if not text.isdecimal() or not self.least <= int(text) <= self.most:
            raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from {self.least} to {self.most}")
        return int(text)


def _option(default: bool | int | str, help: str, places: tuple[str, ...], label: str = "", **more: Any) -> Any:
    return field(default=default, metadata={"option": Option(help, places, label, **more)})


@dataclass(frozen=True, kw_only=True)
class RefineSettings:
    """What a user can say about a refinement; ``OPTIONS`` has the help of each field.

    Raises:
        BadInputError: a value is not among the choices.
    """

    preset: str = _option(
        "standard",
        "speed or detail: draft is quick, fine has the most detail",
        (*LIBRARY, *SLICER),
        "Preset",
        choices=PRESETS,
    )
    device: str = _option(
        "auto",
        "where to compute: auto takes an NVIDIA GPU that works, else the processor",
        (*LIBRARY, *SLICER),
        "Device",
        choices=DEVICES,
    )
    seed: int = _option(0, "seed of every random draw", (*LIBRARY, CONSOLE, MODULE), "Seed")
    force: bool = _option(
        False,
        "refine even if the input does not look like the organ",
        (*LIBRARY, *SLICER),
        "Refine even if it does not look like the organ",
    )
    boldness: str = _option(
        "balanced",
        "how likely a change must be: cautious, balanced, bold, or a probability from 0 to 1 above which it is made",
        LIBRARY,
        metavar="NAME|PROBABILITY",
    )
    restoration: str = _option(
        "auto",
        "network that tells damage from organ: the template's own (auto), none, or a file",
        LIBRARY,
        metavar="auto|none|FILE",
    )
    sparse: bool = _option(
        False,
        "sparse annotation on a few parallel slices: complete the organ between them and pass through what was drawn",
        (*LIBRARY, *SLICER),
        "Drawn on a few slices only",
    )
    keep_union: bool = _option(
        False,
        "what several organs cover together stays, only the borders between them move",
        (COMMAND, BATCH, *SLICER),
        "Keep the union of touching organs",
    )
    alignment: str = _option(
        "cpd",
        "how the template is aligned: this library's coherent point drift with priors, or the pycpd package's without",
        LIBRARY,
        choices=ALIGNMENTS,
    )
    low_memory: bool = _option(False, "run the restoration network in smaller parts: slower, the same result", LIBRARY)
    with_: str = _option(
        "",
        "labels of tumours and cysts that belong to the organ: they count as organ for its shape and stay as they are; "
        "of several organs ORGAN=N+N,...",
        (COMMAND, BATCH),
        metavar="N,N",
    )
    relabel: bool = _option(
        False,
        "a piece of one organ that has the label of its neighbour moves to the organ it belongs to",
        (COMMAND, BATCH),
    )
    strict: bool = _option(
        False,
        "the first organ that is absent, implausible or fails ends the run; without it the others are refined",
        (COMMAND, BATCH),
    )
    names: str = _option(
        "file",
        "for --template auto, where the organs' names are from: the file, TotalSegmentator's label numbers, or a YAML "
        "list of the user's with lines such as '6: liver' or 'Leber: liver'",
        (COMMAND, BATCH),
        metavar="file|totalsegmentator-v1|totalsegmentator-v2|FILE",
    )
    threshold: str = _option(
        "",
        "the input holds probabilities: voxels from this one on are the organ, of several classes the likeliest one",
        (COMMAND, BATCH),
        metavar="P",
    )
    reference: str = _option(
        "",
        "the image, or folder of DICOM files, whose voxel grid the input has: for .npz, RTSTRUCT and meshes",
        (COMMAND, BATCH),
        metavar="IMAGE",
    )
    non_commercial: bool = _option(
        False,
        "the use is non-commercial: allow templates and networks that are licensed for nothing else",
        (*LIBRARY, CONSOLE, MODULE),
        "Non-commercial use",
    )

    def __post_init__(self) -> None:
        for name, option in OPTIONS.items():
            if option.choices and getattr(self, name) not in option.choices:
                raise BadInputError(
                    "{option} is '{value}'",
                    "choose one of {choices}",
                    "option.unknown",
                    option=name,
                    value=getattr(self, name),
                    choices=", ".join(option.choices),
                )


OPTIONS: Mapping[str, Option] = {
    f.name: replace(f.metadata["option"], name=f.name, default=f.default) for f in fields(RefineSettings)
}


def options_of(place: str) -> tuple[Option, ...]:
    """The options that one place offers."""
    return tuple(option for option in OPTIONS.values() if place in option.places)


def option_values(values: object) -> dict[str, Any]:
    """Options by name of an object that has some as attributes: parsed arguments, or other settings."""
    return {name: getattr(values, name) for name in OPTIONS if hasattr(values, name)}


if __name__ == "__main__":
    print("\n".join(option.xml() for option in options_of(MODULE)))
