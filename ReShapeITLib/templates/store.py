"""Where template files are, and how a name leads to one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import BadInputError

if TYPE_CHECKING:
    from .template import TemplateInfo

SUFFIX = ".safetensors"
FOLDERS_VARIABLE = "RESHAPEIT_TEMPLATES"


def template_folders() -> list[Path]:
    """Folders that are searched, in this order: those of $RESHAPEIT_TEMPLATES, the installed ones, a checkout's."""
    package = Path(__file__).resolve().parents[1]
    named = [Path(p).expanduser() for p in os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep) if p]
    return [*named, package / "templates_data", package.parent / "Resources" / "Templates"]


def available_templates() -> dict[str, Path]:
    """Template files by name (the file's stem); of two with one name the first folder's counts."""
    found: dict[str, Path] = {}
    for folder in template_folders():
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            found.setdefault(path.name.removesuffix(SUFFIX), path)
    return found


def known_templates() -> list[TemplateInfo]:
    """What is known about the available templates; files that cannot be read as templates are left out."""
    from .template import read_info

    known = []
    for path in available_templates().values():
        try:
            known.append(read_info(path)[0])
        except BadInputError:
            continue
    return known


def find_template(name_or_file: str | Path) -> Path:
    """The file of a template given by name or by path.

    Raises:
        BadInputError: there is no such file, or no template of that name; the message lists those there are.
    """
    text = str(name_or_file)
    if text.endswith(SUFFIX) or {"/", os.sep} & set(text) or Path(text).is_file():
        path = Path(text).expanduser()
        if not path.is_file():
            raise BadInputError(
                "There is no template file {path}",
                "see those there are with 'reshapeit templates list'",
                "template.missing",
                path=path,
            )
        return path
    known = available_templates()
    if text in known:
        return known[text]
    choices = ", ".join(known) or f"none (put template files into a folder named by ${FOLDERS_VARIABLE})"
    raise BadInputError(
        "There is no template named '{name}'",
        "choose a file or one of {choices}",
        "template.unknown",
        name=text,
        choices=choices,
    )
