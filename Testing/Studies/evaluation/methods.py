"""Every method of a study by name: the input as it is, rivals, the paper's interaction, and this project's.

A method takes a (K, J, I) bool mask and its geometry and returns a :class:`MethodResult` on the same grid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from inspect import signature
from pathlib import Path

import numpy as np

from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.core.mesh import TriangleSurface
from ReShapeITLib.templates.template import OrganTemplate, read_shape_sha256

from . import rivals_filters, rivals_slices

Organs = Iterable[tuple[np.ndarray, ImageGeometry]]


@dataclass(frozen=True, eq=False)
class MethodResult:
    """What a method makes of one input.

    Args:
        mask: (K, J, I) bool on the input's grid.
        surface: of the result, RAS mm, where the method has one of its own; else it is that of the mask.
    """

    mask: np.ndarray
    surface: TriangleSurface | None = None


Method = Callable[[np.ndarray, ImageGeometry], MethodResult]


@dataclass(frozen=True, eq=False)
class Setting:
    """What methods are made for.

    Args:
        organ: name of the organ.
        template_path: its template file.
        training_masks: mask and geometry of the training organs, read only where a model has to be built.
        restoration: of refinements, as for the command line: auto, none or a file.
    """

    organ: str
    template_path: str | Path
    training_masks: Organs | None = None
    restoration: str = "auto"


def make_methods(
    names: Iterable[str | dict],
    organ: str,
    template_path: str | Path,
    training_masks: Organs | None = None,
    restoration: str = "auto",
) -> dict[str, Method]:
    """Methods by their label, in the order given.

    Args:
        names: names of :data:`METHODS`, or mappings of a name with options and a label of its own, such as
            ``{"name": "gaussian", "sd_mm": 3, "as": "gaussian3"}``.
        organ: name of the organ, for rules that differ between organs.
        template_path: template file, for the methods that use one.
        training_masks: (mask, geometry) of each training organ, for a shape model that is not yet built; a generator
            is read only then. No patient of the evaluation may be among them.
        restoration: of refinements that do not name their own: auto, none or a file.

    Raises:
        BadInputError: unknown method or option, a label twice, or a file that is missing.
    """
    setting = Setting(organ, template_path, training_masks, restoration)
    methods: dict[str, Method] = {}
    for entry in names:
        options = {"name": entry} if isinstance(entry, str) else dict(entry)
        name = options.pop("name", None)
        label = str(options.pop("as", name))
        if name not in METHODS:
            raise BadInputError(f"There is no method '{name}'; choose among {', '.join(METHODS)}.")
        if label in methods:
            raise BadInputError(f"Two methods are called '{label}'; give one of them another name by 'as'.")
        methods[label] = _call(METHODS[name], name, setting, **options)
    return methods


def _call(factory: Callable, name: str, *arguments, **options):
    """``factory`` called, once it is sure that it takes these options."""
    try:
        signature(factory).bind(*arguments, **options)
    except TypeError as error:
        raise BadInputError(f"The method '{name}' does not take these options ({error}).") from error
    return factory(*arguments, **options)


def _run_filter(mask, geometry, function, **options) -> MethodResult:
    return MethodResult(function(np.asarray(mask, dtype=bool), geometry, **options))


def _run_with_surface(mask, geometry, function, arguments) -> MethodResult:
    return MethodResult(*function(np.asarray(mask, dtype=bool), geometry, *arguments))


def _unchanged(mask: np.ndarray, geometry: ImageGeometry) -> np.ndarray:
    return mask.copy()


def _input(setting: Setting) -> Method:
    return partial(_run_filter, function=_unchanged)


def _largest(setting: Setting) -> Method:
    return partial(_run_filter, function=rivals_filters.largest_piece)


def _rules(setting: Setting) -> Method:
    return partial(_run_filter, function=rivals_filters.by_rules, organ=setting.organ)


def _median(setting: Setting, kernel_mm: float = 3.0) -> Method:
    return partial(_run_filter, function=rivals_filters.median_smoothed, kernel_mm=kernel_mm)


def _gaussian(setting: Setting, sd_mm: float = 3.0) -> Method:
    return partial(_run_filter, function=rivals_filters.gaussian_smoothed, sd_mm=sd_mm)


def _closing(setting: Setting, kernel_mm: float = 3.0) -> Method:
    return partial(_run_filter, function=rivals_filters.closed, kernel_mm=kernel_mm)


def _fill_between_slices(setting: Setting) -> Method:
    return partial(_run_filter, function=rivals_slices.filled_between_slices)


def _between_slices(setting: Setting) -> Method:
    return partial(_run_with_surface, function=rivals_slices.interpolated_between_slices, arguments=())


def _ssm(setting: Setting, model: str | Path, **options) -> Method:
    """``model`` names the .npz file, which is built from the training masks where it does not exist."""
    from ReShapeITLib.refinement.aligned import alignment_with_scale_prior
    from ReShapeITLib.refinement.options import RefineOptions

    from .rivals_ssm import ShapeFitOptions, ShapeModel, fit_to_mask
    from .rivals_ssm_build import build_ssm, template_mesh

    fit = _call(ShapeFitOptions, "ssm", **options)
    if not Path(model).is_file():
        if setting.training_masks is None:
            raise BadInputError(f"There is no shape model {model} and no training mask to build it from.")
        template = OrganTemplate.load(setting.template_path)
        alignment = alignment_with_scale_prior(RefineOptions().alignment, template)
        build_ssm(setting.training_masks, template_mesh(template), alignment).save(model)
    return partial(_run_with_surface, function=fit_to_mask, arguments=(ShapeModel.load(model), fit))


def _tim_paper(setting: Setting, weighted: bool = False, **options) -> Method:
    """``weighted`` is an ablation of ``paper_tim``; the rest are fields of RefineOptions."""
    from .rivals_field import PAPER_OPTIONS, changed_options, paper_tim

    arguments = OrganTemplate.load(setting.template_path), changed_options(options, PAPER_OPTIONS), weighted
    return partial(_run_with_surface, function=paper_tim, arguments=arguments)


def _deepsdf(setting: Setting, model: str | Path, **options) -> Method:
    """``model`` is a template file of a run with the preset auto_decoder; the rest are fields of RefineOptions."""
    from .rivals_field import DEEPSDF_OPTIONS, changed_options, paper_tim

    decoder = OrganTemplate.load(model)
    if decoder.model.options.use_template:
        raise BadInputError(f"{model} has a template, an auto-decoder has none; train it with 'preset: auto_decoder'.")
    _require_organ(decoder.info.organ, setting, model)
    arguments = decoder, changed_options(options, DEEPSDF_OPTIONS)
    return partial(_run_with_surface, function=paper_tim, arguments=arguments)


def _denoiser(setting: Setting, model: str | Path) -> Method:
    """``model`` is a file that ``train_denoiser`` wrote; the template gives the frame only."""
    from .rivals_denoiser import Denoiser, denoised

    network = Denoiser.load(model)
    _require_organ(network.info.organ, setting, model)
    if network.info.template != read_shape_sha256(setting.template_path):
        raise BadInputError(f"{model} was trained in the frame of another template; train it with this one.")
    return partial(_run_with_surface, function=denoised, arguments=(network, OrganTemplate.load(setting.template_path)))


def _require_organ(organ: str, setting: Setting, model: str | Path) -> None:
    if organ != setting.organ:
        raise BadInputError(f"{model} was trained for {organ}, but the organ here is {setting.organ}.")


def _refinement(setting: Setting, restoration: str = "", keep: bool = True, **options) -> Method:
    """``restoration`` is as in :class:`Setting`, which gives it where it is ""; ``keep`` is an ablation of
    ``refined``; the rest are fields of RefineOptions."""
    from ReShapeITLib.restoration.model import RestorationModel
    from ReShapeITLib.restoration.store import chosen_networks

    from .rivals_field import changed_options, refined

    chosen = changed_options(options)
    template = OrganTemplate.load(setting.template_path)
    shape = read_shape_sha256(setting.template_path)
    files = chosen_networks(restoration or setting.restoration, shape, chosen.sparse)
    network = RestorationModel.load_chosen(files)
    return partial(_run_with_surface, function=refined, arguments=(template, chosen, network, keep))


METHODS: dict[str, Callable[..., Method]] = {
    "input": _input,
    "largest": _largest,
    "median": _median,
    "gaussian": _gaussian,
    "closing": _closing,
    "rules": _rules,
    "fill_between_slices": _fill_between_slices,
    "between_slices": _between_slices,
    "ssm": _ssm,
    "deepsdf": _deepsdf,
    "denoiser": _denoiser,
    "tim_paper": _tim_paper,
    "field": partial(_refinement, restoration="none"),
    "reshapeit": _refinement,
}
