"""One organ of a job: its template and network, the refinement, and what the report says about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.device import Device
from ..core.errors import ImplausibleError, label_subject
from ..core.geometry import box_of_boxes
from ..core.labels import LabelVolume
from ..core.organs import ORGANS
from ..restoration.table import network_name
from ..templates.store import known_templates
from .pieces.removed import piece_report
from .report import OrganReport, StageClock, shape_report, surface_changes, voxel_changes
from .with_image import image_of_organ, with_image

if TYPE_CHECKING:
    from ..core.mesh import TriangleSurface
    from ..core.progress import Stages
    from ..refinement.refined import RefinedShape
    from ..restoration.model import RestorationModel
    from ..templates.template import OrganTemplate
    from .request import RefineJob


@dataclass(frozen=True, eq=False)
class RefinedOrgan:
    """One label's result and what the report says about how it came about."""

    shape: RefinedShape
    template: OrganTemplate
    file: Path
    sha256: str
    restoration: str | None
    restoration_licence: str | None
    detail: str | None
    detail_licence: str | None
    device: Device
    seconds: dict[str, float]
    surface_cell_mm: float
    image: dict | None = None


def refine_label(
    volume: LabelVolume,
    label: int | str,
    file: Path,
    job: RefineJob,
    device: Device,
    progress: Stages,
    notice: Callable[[str], None],
) -> RefinedOrgan:
    """Refine one label of a volume; out of GPU memory it goes on on the processor where the job leaves the choice.

    Args:
        volume: the whole input.
        label: number, id or name of the label.
        file: of its template.
        progress: gets the stages.
        notice: called with sentences for the user.

    Raises:
        BadInputError, ImplausibleError, CancelledError: see ``job.run_refine_job``.
    """
    from ..refinement.refine import refine
    from ..restoration.store import chosen_networks
    from ..templates.template import read_info, read_shape_sha256
    from .models import loaded_network, loaded_template, refine_options, within_memory

    options = refine_options(job)
    sha256 = read_info(file)[2]
    template = loaded_template(file, sha256)
    clock = StageClock(progress, template.info.organ)
    part = volume.around(label)
    image = image_of_organ(job.image, part.mask(label), part.geometry, template.info.organ, job.sparse)
    networks = chosen_networks(job.restoration, read_shape_sha256(file), job.sparse)
    restoration = loaded_network(networks, job.sparse)
    if restoration and job.low_memory:
        restoration = restoration.in_smaller_parts()
    others = known_templates()
    network = _name_and_licence(networks.restoration, restoration)

    def refined(device: Device, model: RestorationModel | None) -> RefinedShape:
        moved = model and model.to(device.name)
        on_device = template.to(device.name)
        shape = refine(part.mask(label), part.geometry, on_device, options, clock, job.force, moved, others, image)
        if job.surface or job.report:  # both tell about the fitted field; now its time is booked
            shape.fit.finish()
        return shape

    try:
        shape, device = within_memory(refined, device, restoration, job.device == "auto", notice)
    except ImplausibleError as error:
        raise error.about(subject=label_subject(label, volume.source), label=label, input=volume.source) from error
    if image is not None:
        clock.stage("image", 0.82)
    shape, said = with_image(shape, image, template.info.organ, job.sparse, notice)
    seconds = clock.seconds()
    for_detail = restoration.detail if restoration and shape.detailed else None
    detail = _name_and_licence(networks.detail, for_detail)
    cell_mm = options.surface_cell_mm
    return RefinedOrgan(shape, template, file, sha256, *network, *detail, device, seconds, cell_mm, said)


def _name_and_licence(file: Path | None, model: RestorationModel | None) -> tuple[str | None, str | None]:
    """Of a network that was used; None of another."""
    return (network_name(file), model.info.licence) if file and model else (None, None)


def whole_of(organ: RefinedOrgan) -> str:
    """What the organ is a part of, see ``organs.Organ``; "" where it is whole itself."""
    known = ORGANS.get(organ.template.info.organ)
    return known.part_of if known else ""


def organ_report(
    label: int | str,
    organ: RefinedOrgan,
    before: LabelVolume,
    after: LabelVolume,
    surface: TriangleSurface | None,
) -> OrganReport:
    """What changed from one volume to the other, and how certain it is; ``surface`` of the result may be None."""
    info = organ.template.info
    change, field_share = surface_changes(surface) if surface is not None else (None, None)
    box = box_of_boxes(volume.extent(label)[0] for volume in (before, after))
    before = before.cropped(box)
    masks = before.mask(label), after.cropped(box).mask(label)
    return OrganReport(
        label=label,
        organ=info.organ,
        template=organ.file.name,
        template_sha256=organ.sha256,
        licence=info.licence,
        non_commercial=info.non_commercial,
        restoration=organ.restoration,
        restoration_licence=organ.restoration_licence,
        detail=organ.detail,
        detail_licence=organ.detail_licence,
        device=organ.device.name,
        device_reason=organ.device.reason,
        signed_change_mm=change,
        field_share=field_share,
        seconds=organ.seconds,
        image=organ.image,
        **voxel_changes(*masks, before.geometry),
        **{**shape_report(organ.shape), **piece_report(*masks, before.geometry)},
    )
