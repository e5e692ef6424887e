"""Templates and networks whose licence forbids commercial use are refined with only after an explicit word."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from ..core.errors import NON_COMMERCIAL, BadInputError, Notice
from ..core.licences import is_non_commercial
from ..restoration.store import chosen_networks, restoration_licence
from ..restoration.table import network_name
from ..templates.template import read_info, read_shape_sha256


def tell_licences(files: Iterable[Path], restoration: str, sparse: bool, notice: Callable[[str], None]) -> None:
    """Tell in one sentence which templates and networks of a run are for non-commercial use only, if any is.

    Args:
        files: of the templates.
        restoration, sparse: see :class:`ReShapeITLib.job.job.RefineJob`.
        notice: told.
    """
    restricted = _restricted(files, restoration, sparse)
    if restricted:
        words = "For non-commercial use only ({licence}): {models}."
        licence = ", ".join(sorted(set(restricted.values())))
        notice(Notice(words, "licence.told", licence=licence, models=", ".join(restricted)))


def left_for_licence(organs: Iterable[str]) -> Notice:
    """What the user is told once of the organs that stay as they are because of a licence."""
    words = (
        "{organs}: left as they are, because their templates or networks are for non-commercial use only; "
        "if your use is non-commercial, say so with --non-commercial."
    )
    return Notice(words, "licence.left", organs=", ".join(organs))


def check_licences(files: Iterable[Path], restoration: str = "auto", sparse: bool = False) -> None:
    """Refuse templates, and networks that would be asked with them, which are for non-commercial use only.

    Args:
        files: of the templates.
        restoration, sparse: see :class:`ReShapeITLib.job.job.RefineJob`.

    Raises:
        BadInputError: there are such; it names them, their licences and the option that allows them.
    """
    refuse_non_commercial(_restricted(files, restoration, sparse), "--non-commercial")


def refuse_non_commercial(licences: Mapping[str, str], option: str) -> None:
    """Refuse what is for non-commercial use only.

    Args:
        licences: by the name of the template or network.
        option: by which the user allows it.

    Raises:
        BadInputError: there are such; it names them and their licences.
    """
    restricted = {model: licence for model, licence in licences.items() if is_non_commercial(licence)}
    if restricted:
        raise BadInputError(
            "For non-commercial use only ({licences}): {models}",
            "if your use is non-commercial, say so with {option}",
            NON_COMMERCIAL,
            licences=", ".join(sorted(set(restricted.values()))),
            models=", ".join(restricted),
            option=option,
        )


def _restricted(files: Iterable[Path], restoration: str, sparse: bool) -> dict[str, str]:
    """Licences of the templates and networks that are for non-commercial use only, by name."""
    licences: dict[str, str] = {}
    for file in dict.fromkeys(files):
        licences |= _licences(file, restoration, sparse)
    return {model: licence for model, licence in licences.items() if is_non_commercial(licence)}


def _licences(file: Path, restoration: str, sparse: bool) -> dict[str, str]:
    """Licence of a template and of each network that goes with it, by name."""
    networks = chosen_networks(restoration, read_shape_sha256(file), sparse)
    told = {f"template {file.stem}": read_info(file)[0].licence}
    return told | {f"network {network_name(path)}": restoration_licence(path) for path in networks.files if path}
