"""How far shape alone could reach on the inputs of a study: what would be reached if every decision were right.

    python -m Testing.Studies.oracle_bounds Testing/Studies/studies/pancreas.yaml --families predictions \\
           --variants SS Dice --fit --output runs/oracle

Nothing here is a method, for all of it looks at the truth. Of each input:

- pieces: each separate piece is kept or dropped, whichever is nearer to the truth;
- regions: what the restoration network offers is taken or left region by region, twice as in a refinement;
- cells: the same, but cell by cell, once;
- truth: the truth itself, which an EMD of samples does not bring to nothing;
- refined: the refinement itself (only with ``--refined``), to see how near it comes.

And of each truth, with ``--fit``, the template's field fitted to it: by its codes alone, and by codes and weights.
Families that are not made of whole organs (a few slices) have no such bounds. Needs the development data beside the
repository (``../shared/data``). Goes on where an earlier start ended; ``bounds_ORGAN.md`` holds the table.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

SHOWN = {
    "cd": ("CD x 100", 100.0),
    "emd": ("EMD", 1.0),
    "hd95_mm": ("HD95 mm", 1.0),
    "assd_mm": ("ASSD mm", 1.0),
    "dsc": ("DSC %", 100.0),
}
NAMES = ("input", "refined", "pieces", "regions", "cells", "truth")
FITS = ("codes", "codes and weights")


def fitted_masks(truth: np.ndarray, geometry, template) -> dict[str, np.ndarray]:
    """(K, J, I) bool of the field fitted to a truth, by its codes alone and by codes and weights; all points count."""
    from ReShapeITLib.distance.surface import signed_distance_grid, surface_from_grid
    from ReShapeITLib.interaction.alignment import align_to_template
    from ReShapeITLib.interaction.candidates import CandidateOptions, draw_surface_points, with_free_space
    from ReShapeITLib.interaction.fitting import fit_field
    from ReShapeITLib.interaction.options import FitOptions
    from ReShapeITLib.refinement.aligned import alignment_with_scale_prior
    from ReShapeITLib.refinement.options import RefineOptions
    from Testing.Studies.evaluation.rivals_field import fitted_shape

    rng, options = np.random.default_rng(0), CandidateOptions()
    grid = signed_distance_grid(truth, geometry)
    points, normals = draw_surface_points(surface_from_grid(grid), options.n_surface, rng)
    alignment = alignment_with_scale_prior(RefineOptions().alignment, template)
    frame = align_to_template(points, template.points_unit, alignment).ras_to_unit
    candidates = with_free_space(points, normals, np.ones(len(points)), grid, frame, options, rng)
    masks = {}
    for name, weight_steps in zip(FITS, (0, 200), strict=True):
        fit = FitOptions(code_steps=200, weight_steps=weight_steps, robust_mm=(0.0, 0.0), code_prior=0.05)
        masks[name] = fitted_shape(fit_field(template, candidates, frame, fit), geometry, 1.5)[0]
    return masks


def measured(study, inputs, masks: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """The shown metrics of each mask, measured as a study does."""
    from ReShapeITLib.distance.surface import surface_from_grid
    from Testing.Studies.evaluation.measure import distance_as_it_is, metrics

    reference = surface_from_grid(distance_as_it_is(inputs.truth, inputs.geometry))
    values = {name: metrics(study, inputs, reference, mask) for name, mask in masks.items()}
    return {name: {key: of_mask[key] for key in SHOWN} for name, of_mask in values.items()}


def run_job(study, case: str, family, variant: str, refined: bool) -> dict:
    """All bounds of one input; of the truth itself where ``family`` is None."""
    import torch

    from ReShapeITLib.refinement.refine import refine
    from ReShapeITLib.restoration.model import RestorationModel
    from ReShapeITLib.templates.store import find_template
    from ReShapeITLib.templates.template import OrganTemplate
    from Testing.Studies.evaluation.families import Clean
    from Testing.Studies.evaluation.inputs import make_input

    from .hindsight import Oracle

    torch.set_num_threads(1)
    file = find_template(study.template or study.organ)
    template = OrganTemplate.load(file)
    inputs = make_input(study, case, family or Clean("clean"), variant)
    truth, given, geometry = inputs.truth, inputs.given, inputs.geometry
    if family is None:
        masks = fitted_masks(truth, geometry, template)
        return {"case": case, "family": "", "variant": "", "bounds": measured(study, inputs, masks)}
    model = RestorationModel.for_template(file)
    masks = {"input": given, "truth": truth} | Oracle(truth, given, geometry, template, model).masks()
    if refined:
        masks["refined"] = refine(given, geometry, template, force=True, restoration=model).mask(geometry)
    about = {"case": case, "family": family.name, "variant": variant}
    return about | {"bounds": measured(study, inputs, masks)}


def table(rows: list[dict], names: tuple[str, ...]) -> str:
    """Markdown: means of all metrics and medians of two, a line for each bound that all rows have."""
    columns = [name for name, _ in SHOWN.values()] + ["median CD x 100", "median HD95 mm"]
    lines = ["| | " + " | ".join(columns) + " |", "|" + "---|" * (len(columns) + 1)]
    for name in names:
        told = [row["bounds"][name] for row in rows if name in row["bounds"]]
        if told and len(told) == len(rows):
            values = {key: np.array([one[key] for one in told]) * factor for key, (_, factor) in SHOWN.items()}
            cells = [values[key].mean() for key in SHOWN] + [np.median(values[key]) for key in ("cd", "hd95_mm")]
            lines.append(f"| {name} | " + " | ".join(f"{cell:.3f}" for cell in cells) + " |")
    return "\n".join(lines)


def report(organ: str, rows: list[dict]) -> str:
    """All tables: each family as a whole, predictions also network by network, and the fits to the truths."""
    parts = []
    for family in dict.fromkeys(row["family"] for row in rows if row["family"]):
        of_family = [row for row in rows if row["family"] == family]
        variants = list(dict.fromkeys(row["variant"] for row in of_family))
        for variant in ("", *variants) if len(variants) > 1 else ("",):
            chosen = [row for row in of_family if variant in ("", row["variant"])]
            title = f"{organ}, {family} {variant}".rstrip()
            parts += [f"**{title}** ({len(chosen)} inputs)", table(chosen, NAMES)]
    fits = [row for row in rows if not row["family"]]
    if fits:
        parts += [f"**{organ}, field fitted to the truth** ({len(fits)} cases)", table(fits, FITS)]
    return "\n\n".join(parts) + "\n"


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    from Testing.Studies.evaluation.inputs import variants
    from Testing.Studies.evaluation.patients import check_patients
    from Testing.Studies.evaluation.study import read_study

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", help="study file of one organ")
    parser.add_argument("--families", nargs="*", default=[], help="names of its families of input")
    parser.add_argument("--variants", nargs="*", help="which networks or draws of these; default: all")
    parser.add_argument("--fit", action="store_true", help="fit the field to the truths, too")
    parser.add_argument("--refined", action="store_true", help="measure the refinement, too")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--output", type=Path, required=True)
    told = parser.parse_args(arguments)
    study = read_study(told.study)
    check_patients(study)
    unknown = set(told.families) - {family.name for family in study.families}
    if unknown:
        parser.error(
            f"{told.study} has no family {', '.join(sorted(unknown))}; it has "
            f"{', '.join(family.name for family in study.families)}."
        )
    told.output.mkdir(parents=True, exist_ok=True)
    path = told.output / f"rows_{study.organ}.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    done = {(row["case"], row["family"], row["variant"]) for row in rows}
    wanted = [
        (case, family, variant)
        for family in study.families
        if family.name in told.families
        for case in study.cases
        for variant in variants(family)
        if variant in (told.variants or [variant])
    ]
    wanted += [(case, None, "") for case in study.cases if told.fit]
    jobs = [
        (study, *job, told.refined) for job in wanted if (job[0], job[1].name if job[1] else "", job[2]) not in done
    ]
    with ProcessPoolExecutor(told.workers) as pool, open(path, "a", encoding="utf-8") as file:
        for row in pool.map(run_job, *zip(*jobs, strict=True)) if jobs else ():
            file.write(json.dumps(row) + "\n")
            file.flush()
            rows.append(row)
            print(row["case"], row["family"] or "truth", row["variant"], flush=True)
    text = report(study.organ, rows)
    (told.output / f"bounds_{study.organ}.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
