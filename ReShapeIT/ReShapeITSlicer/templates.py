"""The organ templates to choose from, read from the headers of their files without torch."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path

from .errors import RefinementError
from .library import addLibraryToPath

LARGEST_HEADER = 50_000_000


@dataclass(frozen=True)
class TemplateChoice:
    """One template.

    :param name: by which it is chosen.
    :param organ: TotalSegmentator's name of the organ.
    :param snomedCode: SNOMED CT concept of the organ.
    :param licence: SPDX name of the licence of the weights.
    :param nonCommercial: the licence forbids commercial use.
    :param file: the template file.
    """

    name: str
    organ: str
    snomedCode: str
    licence: str
    nonCommercial: bool
    file: str


def availableTemplates() -> list[TemplateChoice]:
    """The templates that are installed, by name; files that are no templates are left out."""
    addLibraryToPath()
    from ReShapeITLib.templates.store import available_templates

    choices = []
    for _name, path in sorted(available_templates().items()):
        try:
            choices.append(readTemplate(path))
        except RefinementError:
            continue
    return choices


def chosenTemplate(nameOrFile) -> TemplateChoice:
    """The template of a name or file.

    :raises RefinementError: there is none, with those there are.
    """
    known = {choice.name: choice for choice in availableTemplates()}
    if str(nameOrFile) in known:
        return known[str(nameOrFile)]
    if Path(nameOrFile).is_file():
        return readTemplate(nameOrFile)
    raise RefinementError(f"There is no organ template '{nameOrFile}'; choose one of: {', '.join(known) or 'none'}.")


def readTemplate(path) -> TemplateChoice:
    """What a template file says about itself.

    :raises RefinementError: it is not a template or damaged.
    """
    path = Path(path)
    try:
        with open(path, "rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > LARGEST_HEADER:
                raise ValueError("no header")
            header = json.loads(stream.read(length))
        info = json.loads(header["__metadata__"]["template"])
        licence = info["licence"]
        restricted = "-NC" in licence.upper().replace(" ", "-")
        return TemplateChoice(
            path.name.removesuffix(".safetensors"), info["organ"], info["snomed_code"], licence, restricted, str(path)
        )
    except (OSError, struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RefinementError(f"{path} is not a template file or is damaged; get a fresh copy of it.") from error
