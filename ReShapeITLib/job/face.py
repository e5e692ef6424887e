"""``ReShapeITLib.refine``: one organ, from a mask to its refined shape, without files of the user's."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..core.device import Device, choose_device, limited_cpu_threads
from ..core.errors import BadInputError
from ..core.geometry import ImageGeometry
from ..core.progress import Progress
from ..distance.surface import check_shape
from ..image.band import Image
from ..refinement.options import RefineOptions
from ..refinement.refine import refine as refine_shape
from ..refinement.refined import RefinedShape
from ..restoration.model import RestorationModel
from ..restoration.store import chosen_networks
from ..templates.store import find_template, known_templates
from ..templates.template import OrganTemplate, read_info
from .inputs.by_name import AUTO
from .licences import refuse_non_commercial
from .models import check_use, loaded_network, loaded_template, refine_options, within_memory
from .options import RefineSettings
from .with_image import image_of_organ, with_image


def refine(
    mask: np.ndarray,
    geometry: ImageGeometry,
    template: str | Path | OrganTemplate,
    *,
    preset: str = "standard",
    restoration: str | Path | RestorationModel = "auto",
    sparse: bool = False,
    device: str = "auto",
    seed: int = 0,
    force: bool = False,
    low_memory: bool = False,
    non_commercial: bool = False,
    alignment: str = "cpd",
    boldness: str = "balanced",
    image: str | Path | Image | None = None,
    options: RefineOptions | None = None,
    progress: Progress | None = None,
    notice: Callable[[str], None] = warnings.warn,
) -> RefinedShape:
    """Refine one organ as ``reshapeit refine`` does.

    Args:
        mask: (K, J, I) voxels of the organ as it was segmented; what is not 0 is the organ.
        geometry: of the mask: ijk to RAS mm.
        template: name, file or loaded template of the organ.
        preset: "draft", "standard" or "fine".
        restoration: network that tells damage from organ: "auto" for the template's own, "none", a file or a model.
        sparse: the mask is a sparse annotation on parallel slices; the organ is completed between them.
        device: "auto", "cpu", "cuda" or "mps".
        seed: of every random draw.
        force: refine even if the mask does not look like the organ.
        low_memory: run the network in smaller parts: slower, the same result.
        non_commercial: the use is non-commercial; templates and networks licensed for nothing else are refused
            otherwise.
        alignment: "cpd" (this library's, with priors) or "pycpd" (the pycpd package, without).
        boldness: how likely a change must be: "cautious", "balanced", "bold" or a probability as text; the result's
            ``suggestions`` and ``taken`` say what was decided, :func:`with_suggestions` decides otherwise.
        image: the CT that was segmented, a file or :class:`~ReShapeITLib.image.band.Image` on any grid: it moves the
            surface to the organ's edge where it is sure of it.
        options: in the place of preset, sparse, seed, alignment and boldness, which it has itself.
        progress: gets the stages; its cancel request ends the work.
        notice: called with a sentence on each fallback, such as a full GPU.

    Returns:
        The refined organ: ``mask(geometry)`` is (K, J, I) bool on any grid, ``surface(cell_mm)`` a closed surface in
        RAS mm with the change in mm, ``sdf_mm(points_ras)`` the signed distance, negative inside.

    Raises:
        BadInputError: mask, template, network, image or an option is wrong, or a licence is not accepted.
        ImplausibleError: the mask does not look like the organ and ``force`` is not set.
        CancelledError: ``progress`` was cancelled.

    Example:
        >>> volume = read_labels("prediction.nii.gz")
        >>> refined = refine(volume.mask(1), volume.geometry, "pancreas").mask(volume.geometry)
    """
    settings = RefineSettings(
        preset=preset, device=device, seed=seed, sparse=sparse, alignment=alignment, boldness=boldness
    )
    chosen = _options(settings, options)
    mask = np.asarray(mask) != 0
    check_shape(mask, geometry)
    organ = template if isinstance(template, OrganTemplate) else _template(template)
    model = _network(restoration, organ, chosen.sparse)
    if not non_commercial:
        refuse_non_commercial(_licences(organ, model), "non_commercial=True")
    read = image_of_organ(image, mask, geometry, organ.info.organ, chosen.sparse)
    if model is not None and low_memory:
        model = model.in_smaller_parts()

    def refined(where: Device, network: RestorationModel | None) -> RefinedShape:
        moved = network and network.to(where.name)
        on_device = organ.to(where.name)
        return refine_shape(mask, geometry, on_device, chosen, progress, force, moved, known_templates(), read)

    with limited_cpu_threads():
        shape = within_memory(refined, choose_device(device), model, device == "auto", notice)[0]
        return with_image(shape, read, organ.info.organ, chosen.sparse, notice)[0]


def _options(settings: RefineSettings, options: RefineOptions | None) -> RefineOptions:
    if options is None:
        return refine_options(settings)
    if settings != RefineSettings(device=settings.device):
        words = "options has preset, sparse, seed, alignment and boldness itself"
        raise BadInputError(words, "leave these out", "options.twice")
    return options


def _template(name_or_file: str | Path) -> OrganTemplate:
    if str(name_or_file) == AUTO:
        words, hint = "A mask has no name that tells its organ", "name the template, or refine a file with {call}"
        raise BadInputError(words, hint, "auto.mask", call="run_refine_job and templates={None: 'auto'}")
    file = find_template(name_or_file)
    return loaded_template(file, read_info(file)[2])


def _network(restoration: str | Path | RestorationModel, organ: OrganTemplate, sparse: bool) -> RestorationModel | None:
    if isinstance(restoration, RestorationModel):
        if organ.shape_sha256 not in restoration.info.templates.values():
            raise BadInputError(
                "The restoration network was not trained with this template",
                "use 'auto' or 'none'",
                "network.other_template",
            )
        check_use(restoration, "The restoration network", sparse)
        return restoration
    return loaded_network(chosen_networks(str(restoration), organ.shape_sha256, sparse), sparse)


def _licences(organ: OrganTemplate, model: RestorationModel | None) -> dict[str, str]:
    """Licence of the template and of each network, by name."""
    told = {f"template {organ.info.organ}": organ.info.licence}
    if model is not None:
        told["restoration network"] = model.info.licence
        if model.detail is not None:
            told["network for detail"] = model.detail.info.licence
    return told
