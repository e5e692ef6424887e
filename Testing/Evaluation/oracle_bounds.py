"""How far shape alone could reach on real predictions: what would be reached if every decision were right.

    python -m Testing.Evaluation.oracle_bounds --organ pancreas --networks SS Dice --fit-cases 20 --output runs/oracle

Nothing here is a method, for all of it looks at the truth. Of each prediction:

- pieces: each separate piece is kept or dropped, whichever is nearer to the truth;
- regions: what the restoration network offers is taken or left region by region, twice as in a refinement;
- cells: the same, but cell by cell, once;
- refined: the refinement itself (only with ``--refined``), to see how near it comes.

And of some truths, the template's field fitted to them: by its codes alone, and by codes and weights. Needs the
development data beside the repository (``../shared/data``). Goes on where an earlier start ended; ``bounds_ORGAN.md``
holds the table.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from . import use_unseen_templates
from .real_predictions import DATA

SHOWN = {"cd": ("CD x 100", 100.0), "hd95_mm": ("HD95 mm", 1.0), "assd_mm": ("ASSD mm", 1.0), "dsc": ("DSC %", 100.0)}
NAMES = ("input", "refined", "pieces", "regions", "cells")
FITS = ("codes", "codes and weights")


def fitted_masks(truth: np.ndarray, geometry, template) -> dict[str, np.ndarray]:
    """(K, J, I) bool of the field fitted to a truth, by its codes alone and by codes and weights; all points count."""
    from ReShapeITLib.evaluation.rivals_field import fitted_shape
    from ReShapeITLib.interaction.alignment import align_to_template
    from ReShapeITLib.interaction.candidates import CandidateOptions, draw_surface_points, with_free_space
    from ReShapeITLib.interaction.fitting import FitOptions, fit_field
    from ReShapeITLib.refinement import RefineOptions, alignment_with_scale_prior
    from ReShapeITLib.surface import signed_distance_grid, surface_from_grid

    rng, options = np.random.default_rng(0), CandidateOptions()
    grid = signed_distance_grid(truth, geometry)
    points, normals = draw_surface_points(surface_from_grid(grid), options.n_surface, rng)
    alignment = alignment_with_scale_prior(RefineOptions().alignment, template)
    frame = align_to_template(points, template.points_unit, alignment).ras_to_unit
    candidates = with_free_space(points, normals, np.ones(len(points)), grid.at_ras, frame, options, rng)
    masks = {}
    for name, weight_steps in zip(FITS, (0, 200), strict=True):
        fit = FitOptions(code_steps=200, weight_steps=weight_steps, robust_mm=(0.0, 0.0), code_prior=0.05)
        masks[name] = fitted_shape(fit_field(template, candidates, frame, fit), geometry, 1.5)[0]
    return masks


def measured(truth: np.ndarray, masks: dict[str, np.ndarray], geometry) -> dict[str, dict[str, float]]:
    """The shown metrics of each mask."""
    from ReShapeITLib.evaluation.measure import AS_IT_IS
    from ReShapeITLib.metrics import compare_surfaces
    from ReShapeITLib.metrics.masks import compare_masks
    from ReShapeITLib.surface import surface_from_mask

    reference, told = surface_from_mask(truth, geometry, AS_IT_IS), {}
    for name, mask in masks.items():
        voxels = compare_masks(truth, mask, geometry, 2.0)
        # The earth mover's distance is not shown; a few points of it cost nothing.
        cd = compare_surfaces(reference, surface_from_mask(mask, geometry, AS_IT_IS), n_emd=8).cd
        told[name] = {"cd": cd} | {key: getattr(voxels, key) for key in SHOWN if key != "cd"}
    return told


def run_job(organ: str, case: str, network: str, template_path: str, refined: bool) -> dict:
    """All bounds of one prediction, or of the truth itself where ``network`` is ""."""
    import torch

    from ReShapeITLib.refinement import refine
    from ReShapeITLib.restoration.model import RestorationModel
    from ReShapeITLib.template import OrganTemplate
    from ReShapeITLib.volume_io import read_labels

    from .hindsight import Oracle

    torch.set_num_threads(1)
    volume = read_labels(DATA / organ / f"{case}.nii.gz")
    truth, geometry = volume.layers[0] != 0, volume.geometry
    template = OrganTemplate.load(template_path)
    about = {"case": case, "network": network}
    if not network:
        return about | {"bounds": measured(truth, fitted_masks(truth, geometry, template), geometry)}
    given = read_labels(DATA / "predictions" / organ / case / f"{network}.nii.gz").layers[0] != 0
    model = RestorationModel.for_template(template_path)
    masks = {"input": given} | Oracle(truth, given, geometry, template, model).masks()
    if refined:
        masks["refined"] = refine(given, geometry, template, force=True, restoration=model).mask(geometry)
    return about | {"bounds": measured(truth, masks, geometry)}


def table(rows: list[dict], names: tuple[str, ...]) -> str:
    """Markdown: means of all metrics and medians of the first two, a line for each bound that all rows have."""
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
    """All tables."""
    networks = list(dict.fromkeys(row["network"] for row in rows if row["network"]))
    parts = []
    for title, some in [("all", networks), *((network, [network]) for network in networks)]:
        chosen = [row for row in rows if row["network"] in some]
        parts += [f"**{organ}, {title}** ({len(chosen)} predictions)", table(chosen, NAMES)]
    fits = [row for row in rows if not row["network"]]
    if fits:
        parts += [f"**{organ}, field fitted to the truth** ({len(fits)} cases)", table(fits, FITS)]
    return "\n\n".join(parts) + "\n"


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    from ReShapeITLib.template_store import find_template

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--organ", choices=("pancreas", "liver"), required=True)
    parser.add_argument("--networks", nargs="*", default=[])
    parser.add_argument("--cases", nargs="*", help="default: the evaluation cases of the split")
    parser.add_argument("--fit-cases", type=int, default=0, help="of how many cases the truth is fitted")
    parser.add_argument("--template", help="template file; default: the one that has not seen these cases")
    parser.add_argument("--refined", action="store_true", help="measure the refinement, too")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--output", type=Path, required=True)
    told = parser.parse_args(arguments)
    use_unseen_templates()
    template = told.template or str(find_template(told.organ))
    cases = told.cases or json.loads((DATA / "splits.json").read_text())[told.organ]["eval_with_predictions"]
    told.output.mkdir(parents=True, exist_ok=True)
    path = told.output / f"rows_{told.organ}.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    done = {(row["case"], row["network"]) for row in rows}
    wanted = [(case, network) for case in cases for network in told.networks]
    wanted += [(case, "") for case in cases[: told.fit_cases]]
    jobs = [(told.organ, *job, template, told.refined) for job in wanted if job not in done]
    with ProcessPoolExecutor(told.workers) as pool, open(path, "a", encoding="utf-8") as file:
        for row in pool.map(run_job, *zip(*jobs, strict=True)) if jobs else ():
            file.write(json.dumps(row) + "\n")
            file.flush()
            rows.append(row)
            print(row["case"], row["network"] or "truth", flush=True)
    text = report(told.organ, rows)
    (told.output / f"bounds_{told.organ}.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
