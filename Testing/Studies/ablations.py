"""What each part of the model is worth: small templates trained with one part off, and measured on unseen patients.

    reshapeit prepare LABELS --label 5 --label-modulo 512 --output runs/prepared/lung_middle_lobe_right
    python -m Testing.Studies.ablations --data runs/prepared/lung_middle_lobe_right \\
        --study Testing/Studies/studies/lung_middle_lobe_right.yaml --output runs/ablations

All variants are trained for equally many steps on the study's training cases, which must be in the prepared data. Goes
on where an earlier start ended; ``ablations.csv``, ``ablations.md`` and ``templates.png`` hold the results. Fits and
trust are ablated without training, by ``python -m Testing.Studies Testing/Studies/studies/ablations/ORGAN.yaml``.
"""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from ReShapeITLib.core.errors import BadInputError, ReShapeITError
from ReShapeITLib.core.geometry import Similarity
from ReShapeITLib.core.progress import Progress
from ReShapeITLib.distance.surface import signed_distance_grid, surface_from_grid, surface_from_mask
from ReShapeITLib.interaction.alignment import align_to_template
from ReShapeITLib.interaction.candidates import CandidateOptions, draw_surface_points, with_free_space
from ReShapeITLib.interaction.fitting import fit_field
from ReShapeITLib.interaction.options import FitOptions
from ReShapeITLib.metrics import evaluate
from ReShapeITLib.pictures.rendering import render_panels
from ReShapeITLib.refinement.aligned import alignment_with_scale_prior
from ReShapeITLib.templates.template import OrganTemplate, TemplateInfo
from ReShapeITLib.training.config import config_from_dict
from ReShapeITLib.training.data import TrainingSet
from ReShapeITLib.training.export import FRAME, reconstruction_residual_mm, template_surface
from ReShapeITLib.training.loop import Trainer
from ReShapeITLib.training.prepare import case_name, thinned
from Testing.Studies.evaluation.inputs import CaseInput, make_input, variants
from Testing.Studies.evaluation.measure import AS_IT_IS
from Testing.Studies.evaluation.rivals_field import PAPER_OPTIONS, paper_tim
from Testing.Studies.evaluation.study import Study, read_study


@dataclass(frozen=True)
class Variant:
    """One training.

    Args:
        title: for tables and pictures.
        model, weights: what differs from the preset.
        preset: of the configuration.
        shapes: how many training shapes; 0 all.
    """

    title: str
    model: dict = field(default_factory=dict)
    weights: dict = field(default_factory=dict)
    preset: str = "compact"
    shapes: int = 0


_CONSTRAINT = {"template_normal": 0.0, "vec": 0.0, "dis": 0.0, "template_shape": 0.0}
VARIANTS = {
    "complete": Variant("complete"),
    "no_alpha": Variant("without alpha", model={"use_alpha": False}),
    "no_beta": Variant("without beta and H", model={"use_beta": False}),
    "no_codes": Variant("without alpha and beta", model={"use_alpha": False, "use_beta": False}),
    "no_template_shape": Variant("without L_TempShape", weights={"template_shape": 0.0}),
    "no_tpn": Variant("without L_tpn", weights={"template_normal": 0.0}),
    # L_TempShape shares the weight of L_dis, so it goes, too.
    "no_vec_dis": Variant("without L_vec, L_dis, L_TempShape", weights={"vec": 0.0, "dis": 0.0}),
    "no_constraint": Variant("without all of these", weights=_CONSTRAINT),
    "auto_decoder": Variant("no template (auto-decoder)", preset="auto_decoder"),
    "shapes_16": Variant("16 training shapes", shapes=16),
    "shapes_8": Variant("8 training shapes", shapes=8),
}
COLUMNS = {
    "training_residual_mm": "residual, training mm",
    "unseen_residual_mm": "residual, unseen mm",
    "pieces": "template's pieces",
    "volume_share": "template's volume / median",
    "cd": "CD x 100",
    "emd": "EMD",
    "hd95_mm": "HD95 mm",
    "assd_mm": "ASSD mm",
    "dsc": "DSC %",
}
FACTORS = {"cd": 100.0, "dsc": 100.0}
METRICS = ("cd", "emd", "hd95_mm", "assd_mm", "dsc")


def train(variant: Variant, data: Path, cases: list[str], organ: str, steps: int, folder: Path) -> Trainer:
    """Train a variant; goes on from its checkpoint."""
    chosen = cases[:: max(1, len(cases) // variant.shapes)][: variant.shapes] if variant.shapes else cases
    optimiser = {"steps": steps, "shapes_per_step": 6, "warmup_steps": max(1, steps // 15)}
    told = {"preset": variant.preset, "organ": organ, "model": variant.model, "weights": variant.weights}
    config = config_from_dict(told | {"optimiser": optimiser, "checkpoint_interval": 50})
    trainer = Trainer(TrainingSet.from_folder(data, cases=chosen), config, folder)
    trainer.run(Progress("none"))
    return trainer


def packaged(trainer: Trainer) -> OrganTemplate:
    """The trained model with what a fit needs; the alignments of the training cases, which it does not, are not
    measured, so the file is for comparison only."""
    data, surface = trainer.data, template_surface(trainer.model)
    points, normals, _ = surface.sample_points(4000, np.random.default_rng(0))
    residuals = [reconstruction_residual_mm(trainer, index) for index in range(len(data))]
    info = TemplateInfo(
        trainer.config.organ,
        "",
        "not stated",
        "an ablation",
        list(data.cases),
        [float(v) for v in data.volumes_ml],
        [float(s) for s in data.scales_mm],
        [0.0] * len(data),
        residuals,
        FRAME,
        trainer.config.as_dict(),
    )
    model = trainer.model.cpu().requires_grad_(False).eval()
    return OrganTemplate(info, model, trainer.codes["alpha"].detach(), trainer.codes["beta"].detach(), points, normals)


def unseen_residual_mm(template: OrganTemplate, told: CaseInput) -> float:
    """Mean |F| on the surface of a truth, fitted by codes alone with all points."""
    rng, options = np.random.default_rng(0), CandidateOptions()
    grid = signed_distance_grid(told.truth, told.geometry)
    points, normals = draw_surface_points(surface_from_grid(grid), options.n_surface, rng)
    alignment = alignment_with_scale_prior(PAPER_OPTIONS.alignment, template)
    frame = align_to_template(points, template.points_unit, alignment).ras_to_unit
    candidates = with_free_space(points, normals, np.ones(len(points)), grid, frame, options, rng)
    fit = FitOptions(code_steps=120, weight_steps=0, robust_mm=(0.0, 0.0), code_prior=0.05, outside=0.0)
    return float(np.abs(fit_field(template, candidates, frame, fit).sdf_mm(points)).mean())


def refined_metrics(template: OrganTemplate | None, told: CaseInput) -> dict[str, float | None]:
    """Metrics of the paper's interaction on a damaged organ, or of that organ itself; None where nothing is left."""
    reference = surface_from_mask(told.truth, told.geometry, AS_IT_IS)
    try:
        mask, surface = (
            (told.given, None)
            if template is None
            else paper_tim(told.given, told.geometry, template, replace(PAPER_OPTIONS, surface_cell_mm=2.0))
        )
    except ReShapeITError:
        return dict.fromkeys(METRICS)
    surface = surface or surface_from_mask(mask, told.geometry, AS_IT_IS)
    values = evaluate(told.truth, mask, told.geometry, reference, surface)
    return {name: float(getattr(values, name)) for name in METRICS}


def measured(template: OrganTemplate, inputs: list[CaseInput]) -> dict:
    """The row of a variant."""
    surface, info = template_surface(template.model), template.info
    volume_ml = surface.volume_mm3 * float(np.exp(3 * np.log(info.scales_mm).mean())) / 1000.0
    row = {
        "training_residual_mm": float(np.mean(info.fit_residuals_mm)),
        "pieces": surface.n_components,
        "volume_share": volume_ml / float(np.median(info.volumes_ml)),
        "unseen_residual_mm": float(np.mean([unseen_residual_mm(template, one) for one in inputs])),
    }
    return row | mean_metrics([refined_metrics(template, one) for one in inputs])


def variant_row(trainer: Trainer, inputs: list[CaseInput], folder: Path) -> dict:
    """The row of a trained variant, whose template goes into ``folder``; all inputs failed where it has no surface."""
    try:
        template = packaged(trainer)
    except ReShapeITError:
        return mean_metrics([dict.fromkeys(METRICS)] * len(inputs))
    template.save(folder / "template.safetensors")
    return measured(template, inputs)


def mean_metrics(rows: list[dict]) -> dict:
    """Means over the inputs of which something was left, and how many failed."""
    left = [row for row in rows if row["cd"] is not None]
    means = {name: float(np.mean([row[name] for row in left])) if left else None for name in METRICS}
    return means | {"failed": len(rows) - len(left)}


def damaged_inputs(study: Study, spacing_mm: float) -> list[CaseInput]:
    """The first damage of each of the study's cases; finer grids are thinned to about ``spacing_mm``."""
    families = [family for family in study.families if getattr(family, "damage", "") == "combined"]
    if not families:
        raise BadInputError("The study has no family of combined damage; add one.")
    variant = variants(families[0])[0]
    inputs = (make_input(study, case, families[0], variant) for case in study.cases)
    return [thinned_input(told, spacing_mm) for told in inputs]


def thinned_input(told: CaseInput, spacing_mm: float) -> CaseInput:
    """The same input on every n-th voxel along each axis."""
    truth, geometry = thinned(told.truth, told.geometry, spacing_mm)
    return CaseInput(truth, thinned(told.given, told.geometry, spacing_mm)[0], geometry)


def write_tables(rows: dict[str, dict], folder: Path, steps: int) -> str:
    """ablations.csv and ablations.md; returns the latter's text."""
    titles = {name: variant.title for name, variant in VARIANTS.items()} | {"input": "damaged input"}
    with open(folder / "ablations.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["variant", *COLUMNS, "failed"])
        writer.writeheader()
        writer.writerows({"variant": name} | row for name, row in rows.items())
    lines = [f"| {steps} steps each | " + " | ".join(COLUMNS.values()) + " |", "|" + "---|" * (len(COLUMNS) + 1)]
    for name, row in rows.items():
        cells = [None if row.get(key) is None else row[key] * FACTORS.get(key, 1.0) for key in COLUMNS]
        failed = f" ({row['failed']} failed)" if row["failed"] else ""
        lines.append(f"| {titles[name]}{failed} | " + " | ".join("" if c is None else f"{c:.3g}" for c in cells) + " |")
    text = "\n".join(lines) + "\n"
    (folder / "ablations.md").write_text(text, encoding="utf-8")
    return text


def draw(folder: Path, names: list[str]) -> None:
    """The surface of each variant's template, as Fig. 10."""
    panels = []
    for name in names:
        if not (folder / name / "template.safetensors").is_file():
            continue
        template = OrganTemplate.load(folder / name / "template.safetensors")
        scale = Similarity(float(np.exp(np.log(template.info.scales_mm).mean())), np.eye(3), np.zeros(3))
        panels.append((template_surface(template.model).transformed(scale), VARIANTS[name].title, None))
    render_panels(panels, ("anterior", "superior"), folder / "templates.png", size_pixels=260)


def main(arguments: list[str] | None = None) -> None:
    """Train and measure what is missing, then write the tables and the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of 'reshapeit prepare'")
    parser.add_argument("--study", required=True, help="names organ, training cases and unseen cases")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--spacing", type=float, default=1.4, help="finer grids are thinned to about this, mm")
    parser.add_argument("--output", type=Path, required=True)
    told = parser.parse_args(arguments)
    torch.set_num_threads(1)
    study = read_study(told.study)
    cases, inputs = [case_name(path) for path in study.training], None
    rows: dict[str, dict] = {}
    for name in ("input", *told.variants):
        folder = told.output / name
        folder.mkdir(parents=True, exist_ok=True)
        kept = folder / f"measured_{told.steps}.json"
        if not kept.is_file():
            inputs = inputs or damaged_inputs(study, told.spacing)
            if name == "input":
                row = mean_metrics([refined_metrics(None, one) for one in inputs])
            else:
                trainer = train(VARIANTS[name], told.data, cases, study.organ, told.steps, folder)
                row = variant_row(trainer, inputs, folder)
            kept.write_text(json.dumps(row))
        rows[name] = json.loads(kept.read_text())
        print(name, {key: round(value, 4) for key, value in rows[name].items() if value is not None}, flush=True)
    print(write_tables(rows, told.output, told.steps))
    draw(told.output, list(told.variants))


if __name__ == "__main__":
    main()
