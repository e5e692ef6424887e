"""A patient that never was, drawn from a template's shape space, damaged, refined and measured.

This is an easy case by construction: the truth lies in the space the template can express. It shows that the way from
file to file works and what the results look like, not how well real segmentations are repaired.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..core.errors import BadInputError
from ..core.geometry import ImageGeometry, Similarity
from ..core.labels import LabelVolume
from ..core.progress import Progress
from ..damage.shapes import combined
from ..image.made import made_ct
from ..io.atomic import make_folder
from ..io.volumes import write_image, write_labels
from ..templates.store import available_templates, find_template
from .job import RefineJob, RefineResult, run_refine_job
from .licences import check_licences

if TYPE_CHECKING:
    from ..interaction.fitting import FittedField
    from ..metrics import SegmentationMetrics
    from ..templates.template import OrganTemplate

PREFERRED = ("pancreas", "liver")
EASY_CASE = (
    "The patient was drawn from the template's own shape space, so this is an easy case: it shows that everything "
    "works, not how well real segmentations are repaired."
)
MADE_CT = (
    "The CT is made from the truth: one brightness for the organ, patches of fat and tissue around it, blur and noise. "
    "It shows what an image adds, not how well real CTs are followed."
)
_SPACING_MM = (1.0, 1.0, 2.5)
_CENTRE_RAS = np.array([25.0, -30.0, 1120.0])  # off the origin, as scanners place patients
_ROOM_MM = 50.0  # around the organ, for leaks and islands
_SPREAD = 0.7  # of the codes: full spread in every direction at once gives unlikely organs


@dataclass(frozen=True, eq=False)
class DemoResult:
    """What the demo measured and wrote.

    Args:
        organ: of the template.
        before, after: metrics of the damaged and of the refined mask against the truth.
        refinement: what the refinement says.
        files: written files.
        with_ct: metrics of what shape and made CT agree on; None for an organ that no image network knows.
        said: what the made CT says about the organ, likewise.
    """

    organ: str
    before: SegmentationMetrics
    after: SegmentationMetrics
    refinement: RefineResult
    files: tuple[Path, ...]
    with_ct: SegmentationMetrics | None = None
    said: dict | None = None


def run_demo(
    folder: Path,
    template_name: str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    notice: Callable[[str], None] = lambda text: None,
    device: str = "auto",
    preset: str = "standard",
    non_commercial: bool = False,
) -> DemoResult:
    """Draw, damage, refine by shape alone and with a made CT, measure, draw pictures.

    Args:
        folder: for label files, CT, surface, report and pictures; made if absent.
        template_name: name or file; pancreas or liver, whichever there is, where None.
        seed: another patient and other damage.
        progress: told the stages.
        notice: see :func:`run_refine_job`.
        device, preset, non_commercial: see :class:`RefineJob`.

    Raises:
        BadInputError: there is no such template, its licence is not accepted, or the folder takes no files.
    """
    from ..image.evidence import known_to_images
    from ..metrics import evaluate
    from ..templates.template import OrganTemplate

    progress = progress or Progress("none")
    file = find_template(template_name or _default_template())
    if not non_commercial:
        check_licences([file])
    progress.stage("draw", 0.0)
    template = OrganTemplate.load(file)
    truth, geometry = draw_patient(template, seed)
    damaged = combined(truth, geometry, np.random.default_rng([seed, 1]))
    make_folder(folder)
    files = {name: folder / f"{name}.seg.nrrd" for name in ("truth", "damaged", "refined")}
    for name, mask in (("truth", truth), ("damaged", damaged)):
        volume = LabelVolume.from_array(mask, geometry, str(files[name]))
        write_labels(volume, files[name], {1: template.info.organ})
    surface, report = folder / "refined.vtp", folder / "report.json"
    job = RefineJob(
        files["damaged"],
        {1: str(file)},
        files["refined"],
        surface,
        report,
        preset=preset,
        device=device,
        seed=seed,
        non_commercial=non_commercial,
    )
    result = run_refine_job(job, progress.part(0.1, 0.45), notice)
    image, ct = made_ct(truth, geometry, seed), folder / "made_ct.nii.gz"
    write_image(image.voxels, geometry, ct)
    masks = {"truth": truth, "input": damaged, "refined": result.volume.mask(1)}
    said = None
    if known_to_images(template.info.organ):
        files["with_ct"] = folder / "refined_with_ct.seg.nrrd"
        beside = replace(job, output=files["with_ct"], surface=None, report=None, image=ct)
        refined = run_refine_job(beside, progress.part(0.45, 0.75), notice)
        masks["with CT"], said = refined.volume.mask(1), refined.report.organs[0].image
    progress.stage("measure", 0.75)
    measured = {name: evaluate(truth, mask, geometry) for name, mask in masks.items() if name != "truth"}
    progress.stage("pictures", 0.85)
    pictures = draw_pictures(folder, masks, geometry, result, image.voxels)
    written = (*files.values(), ct, surface, report, *pictures)
    before, after, with_ct = measured["input"], measured["refined"], measured.get("with CT")
    return DemoResult(template.info.organ, before, after, result, written, with_ct, said)


def draw_patient(template: OrganTemplate, seed: int) -> tuple[np.ndarray, ImageGeometry]:
    """(K, J, I) mask of an unseen patient on a grid with thick slices, and that grid."""
    from ..distance.narrow_band import extract_zero_level, label_voxels
    from ..distance.surface import largest_component

    patient = sample_field(template, seed)
    reach = patient.mm_per_unit * 1.1
    bounds = _CENTRE_RAS - reach, _CENTRE_RAS + reach
    vertices, _ = extract_zero_level(patient.sdf_mm, bounds, resolution=48)
    lower, upper = vertices.min(axis=0) - _ROOM_MM, vertices.max(axis=0) + _ROOM_MM
    size = np.ceil((upper - lower) / _SPACING_MM).astype(int) + 1
    # Scanners count columns to the left and rows to the back.
    direction = np.diag([-1.0, -1.0, 1.0])
    geometry = ImageGeometry.from_parts(size, _SPACING_MM, (upper[0], upper[1], lower[2]), direction)
    mask = np.zeros(geometry.shape_kji, dtype=bool)
    part, start_ijk = label_voxels(patient.sdf_mm, geometry, bounds)
    mask[tuple(slice(s, s + n) for s, n in zip(start_ijk[::-1], part.shape, strict=True))] = part
    return largest_component(mask), geometry


def sample_field(template: OrganTemplate, seed: int) -> FittedField:
    """The field of a patient with random codes, of average size, placed as a scanner would."""
    import torch

    from ..interaction.fitting import field_of_codes
    from ..interaction.prior import CodePrior

    prior = CodePrior.from_template(template)
    alpha, beta = prior.sample(1, torch.Generator().manual_seed(seed), _SPREAD)
    scale = 1.0 / float(np.mean(template.info.scales_mm))
    return field_of_codes(template, prior, alpha, beta, Similarity(scale, np.eye(3), -scale * _CENTRE_RAS))


def comparison_table(
    before: SegmentationMetrics, after: SegmentationMetrics, with_ct: SegmentationMetrics | None = None
) -> str:
    """The six metrics before and after, and with the CT where there is one, with units, as aligned lines."""
    columns = {"before": before, "after": after} | ({"with CT": with_ct} if with_ct else {})
    rows = [
        ("DSC", lambda told: 100 * told.dsc, "%"),
        (f"NSD at {before.nsd_tolerance_mm:g} mm", lambda told: 100 * told.nsd, "%"),
        ("HD95", lambda told: told.hd95_mm, "mm"),
        ("ASSD", lambda told: told.assd_mm, "mm"),
        ("CD x 100", lambda told: told.cd_x100, "squared radii of the truth's sphere"),
        ("EMD", lambda told: told.emd, "radii of the truth's sphere"),
    ]
    lines = [" " * 14 + "".join(f"{name:>9}" for name in columns)]
    for name, number, unit in rows:
        lines.append(f"{name:<14}" + "".join(f"{number(told):>9.3f}" for told in columns.values()) + f"  {unit}")
    return "\n".join(lines)


def draw_pictures(
    folder: Path,
    masks: dict[str, np.ndarray],
    geometry: ImageGeometry,
    result: RefineResult,
    image: np.ndarray | None = None,
) -> tuple[Path, ...]:
    """Write before_after.png, change.png and slices.png; returns their paths.

    Args:
        masks: "truth", "input", "refined" and others for the slices on the grid ``geometry``.
        result: of the refinement of one label.
        image: (K, J, I) behind the outlines of the slices.
    """
    from ..distance.surface import signed_distance_grid, surface_from_grid, surface_from_mask
    from ..pictures.rendering import render_panels
    from ..pictures.slices import slice_contours

    (refined,) = result.surfaces.values()
    truth = signed_distance_grid(masks["truth"], geometry)
    given = surface_from_mask(masks["input"], geometry)
    panels = [
        ("truth", surface_from_grid(truth), None),
        ("before", given, truth.sdf_mm(given.vertices_ras)),
        ("after", refined, truth.sdf_mm(refined.vertices_ras)),
    ]
    paths = tuple(folder / name for name in ("before_after.png", "change.png", "slices.png"))
    views = ("anterior", "superior")
    render_panels(
        [(surface, title, values) for title, surface, values in panels], views, paths[0], label="mm outside the truth"
    )
    change = refined.point_data["signed_change_mm"]
    render_panels([(refined, "change", change)], views, paths[1], label="mm that the surface moved outwards")
    slice_contours(masks, geometry, paths[2], image)
    return paths


def _default_template() -> str:
    known = available_templates()
    for name in (*PREFERRED, *known):
        if name in known:
            return name
    raise BadInputError(
        "There is no template to draw a patient from", "give one with --template FILE", "demo.no_template"
    )
