"""What a refinement takes beside the mask: numbers, template and networks, loaded once for all organs of a process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from ..core.device import Device, free_cached_memory, is_out_of_memory
from ..core.errors import BadInputError, Notice
from ..image.model import image_model
from ..image.reading import forget_image
from ..refinement.options import REFINE_PRESETS, RefineOptions
from ..restoration.grid import template_cells
from ..restoration.model import RestorationModel
from ..restoration.store import ChosenNetworks
from ..templates.template import OrganTemplate
from .options import RefineSettings

Result = TypeVar("Result")


def refine_options(settings: RefineSettings) -> RefineOptions:
    """The numbers of the preset, with what the user said."""
    return replace(
        REFINE_PRESETS[settings.preset],
        seed=settings.seed,
        sparse=settings.sparse,
        boldness=settings.boldness,
        alignment_backend=settings.alignment,
    )


@lru_cache(maxsize=8)
def loaded_template(file: Path, sha256: str) -> OrganTemplate:
    """The template of a file with that checksum."""
    return OrganTemplate.load(file)


def loaded_network(networks: ChosenNetworks, sparse: bool) -> RestorationModel | None:
    """The network that was chosen, with the one for detail; None where none was.

    Raises:
        BadInputError: a file is damaged, or is for another kind of input, see :func:`check_use`.
    """
    model = _loaded(networks, networks.identity())
    if model is not None:
        check_use(model, str(networks.restoration), sparse)
    return model


def check_use(model: RestorationModel, name: str, sparse: bool) -> None:
    """Refuse a network that is for another kind of input.

    Args:
        name: of the network, for the message.
        sparse: the input is a sparse annotation.

    Raises:
        BadInputError: it is for sparse annotations and the input is none, or it only adds detail.
    """
    if model.info.few_slices and not sparse:
        raise BadInputError(
            "{name} is for organs drawn on a few slices only",
            "add --sparse to complete such a drawing, or choose the network 'auto'",
            "network.sparse",
            name=name,
        )
    if model.info.detail:
        raise BadInputError(
            "{name} only adds what coarse voxels hide and restores no organ",
            "choose the network 'auto'",
            "network.detail",
            name=name,
        )


def within_memory(
    refined: Callable[[Device, RestorationModel | None], Result],
    device: Device,
    model: RestorationModel | None,
    may_change: bool,
    notice: Callable[[str], None],
) -> tuple[Result, Device]:
    """What ``refined(device, model)`` gives, and the device it was made on.

    Where the GPU is full it runs again in smaller parts, then on the processor if the device may change; ``notice`` is
    called with a sentence each time.
    """
    try:
        return refined(device, model), device
    except RuntimeError as error:
        if not is_out_of_memory(error) or (model is None and not may_change):
            raise
    if model is not None:
        free_cached_memory()
        notice(Notice("the GPU ran out of memory; trying again in smaller parts.", "memory.smaller_parts"))
        try:
            return refined(device, model.in_smaller_parts()), device
        except RuntimeError as error:
            if not is_out_of_memory(error) or not may_change:
                raise
    free_cached_memory()
    device = Device("cpu", "the GPU ran out of memory")
    notice(Notice("{reason}; going on on the processor.", "memory.on_processor", reason=device.reason))
    return refined(device, model), device


@lru_cache(maxsize=8)
def _loaded(networks: ChosenNetworks, identity: tuple[str, ...]) -> RestorationModel | None:
    return RestorationModel.load_chosen(networks)


def forget_loaded() -> None:
    """Let go of all templates, networks and the image that this process holds; they are loaded again when needed."""
    for known in (loaded_template, _loaded, image_model, template_cells):
        known.cache_clear()
    forget_image()
