"""One organ of a job: its template and network, the refinement, and what the report says about it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.device import Device, free_cached_memory, is_out_of_memory
from ..core.errors import BadInputError, ImplausibleError, Notice, label_subject
from ..core.labels import LabelVolume
from ..core.organs import ORGANS
from ..templates.store import known_templates
from .report import OrganReport, StageClock, shape_report, surface_changes, voxel_changes

if TYPE_CHECKING:
    from ..refinement.refined import RefinedShape
    from ..restoration.model import RestorationModel
    from ..restoration.store import ChosenNetworks
    from ..templates.template import OrganTemplate
    from .request import RefineJob


@dataclass(frozen=True, eq=False)
class RefinedOrgan:
    """One label's result and what the report says about how it came about."""

    shape: RefinedShape
    template: OrganTemplate
    file: Path
    sha256: str
    restoration: Path | None
    restoration_licence: str | None
    detail: Path | None
    detail_licence: str | None
    device: Device
    seconds: dict[str, float]
    surface_cell_mm: float


def refine_label(volume, label, file: Path, job: RefineJob, device: Device, progress, notice) -> RefinedOrgan:
    """Refine one label of a volume; out of GPU memory it goes on on the processor where the job leaves the choice.

    Args:
        volume: LabelVolume of the whole input.
        label: number, id or name of the label.
        file: of its template.
        progress: ``Progress`` or part of one.
        notice: called with sentences for the user.

    Raises:
        BadInputError, ImplausibleError, CancelledError: see ``refine_job.run_refine_job``.
    """
    from ..refinement.options import REFINE_PRESETS
    from ..refinement.refine import refine
    from ..restoration.store import chosen_networks
    from ..templates.template import read_info, read_shape_sha256

    options = replace(REFINE_PRESETS[job.preset], seed=job.seed, sparse=job.sparse)
    sha256 = read_info(file)[2]
    template = _template(file, sha256)
    if template.info.non_commercial:
        notice(_restricted("the template", template.info.organ, template.info.licence))
    clock = StageClock(progress, template.info.organ)
    part = volume.around(label)
    networks = chosen_networks(job.restoration, read_shape_sha256(file), job.sparse)
    network, detail = networks.files
    restoration = _restoration(networks, networks.identity())
    if restoration and restoration.info.few_slices and not job.sparse:
        raise BadInputError(
            f"{network} is for organs drawn on a few slices only; refine such ones as sparse, or give 'auto'."
        )
    if restoration and restoration.info.detail:
        raise BadInputError(f"{network} only adds what coarse voxels hide to what another one says; give 'auto'.")
    if restoration and job.low_memory:
        restoration = restoration.in_smaller_parts()
    others = known_templates()
    if restoration and restoration.info.non_commercial:
        notice(_restricted("the restoration network", network.name, restoration.info.licence))

    def refined(device: Device, model: RestorationModel | None) -> RefinedShape:
        moved = model and model.to(device.name)
        on_device = template.to(device.name)
        shape = refine(part.mask(label), part.geometry, on_device, options, clock, job.force, moved, others)
        if job.surface or job.report:  # both tell about the fitted field; now its time is booked
            shape.fit.finish()
        return shape

    try:
        shape, device = _within_memory(refined, device, restoration, job.device == "auto", notice)
    except ImplausibleError as error:
        about = {"subject": label_subject(label, volume.source), "label": label, "input": volume.source}
        raise error.about(**about) from error
    seconds = clock.seconds()
    licence = restoration and restoration.info.licence
    if shape.detailed and restoration.detail.info.non_commercial:
        notice(_restricted("the network", detail.name, restoration.detail.info.licence))
    told = (detail, restoration.detail.info.licence) if shape.detailed else (None, None)
    cell_mm = options.surface_cell_mm
    return RefinedOrgan(shape, template, file, sha256, network, licence, *told, device, seconds, cell_mm)


def _restricted(kind: str, name: str, licence: str) -> Notice:
    words = "{kind} {name} is for non-commercial use only ({licence})."
    return Notice(words, "licence.non_commercial", kind=kind, name=name, licence=licence)


def whole_of(organ: RefinedOrgan) -> str:
    """What the organ is a part of, see ``organs.Organ``; "" where it is whole itself."""
    known = ORGANS.get(organ.template.info.organ)
    return known.part_of if known else ""


def _within_memory(refined, device: Device, model, may_change: bool, notice) -> tuple[RefinedShape, Device]:
    """What ``refined(device, model)`` gives, and the device: where the GPU is full, again in smaller parts, then on the
    processor if the device may change."""
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
def _template(file: Path, sha256: str) -> OrganTemplate:
    """The template of a file with that checksum, loaded once for all files that are refined with it."""
    from ..templates.template import OrganTemplate

    return OrganTemplate.load(file)


@lru_cache(maxsize=2)
def _restoration(networks: ChosenNetworks, identity: tuple[str, ...]) -> RestorationModel | None:
    """Likewise a restoration network, with the one for detail."""
    from ..restoration.model import RestorationModel

    return RestorationModel.load_chosen(networks)


def organ_report(label, organ: RefinedOrgan, before: LabelVolume, after: LabelVolume, surface) -> OrganReport:
    """What changed from one volume to the other, and how certain it is; ``surface`` of the result may be None."""
    info = organ.template.info
    change, field_share = surface_changes(surface) if surface is not None else (None, None)
    return OrganReport(
        label=label,
        organ=info.organ,
        template=organ.file.name,
        template_sha256=organ.sha256,
        licence=info.licence,
        non_commercial=info.non_commercial,
        restoration=organ.restoration and organ.restoration.name,
        restoration_licence=organ.restoration_licence,
        detail=organ.detail and organ.detail.name,
        detail_licence=organ.detail_licence,
        device=organ.device.name,
        device_reason=organ.device.reason,
        signed_change_mm=change,
        field_share=field_share,
        seconds=organ.seconds,
        **voxel_changes(before.mask(label), after.mask(label), before.geometry),
        **shape_report(organ.shape),
    )
