"""Before and after refinement on real network predictions: all six metrics, case by case.

    python -m Testing.Studies.real_predictions --organ pancreas --networks Dice 2-DiceCE SS --output FOLDER

Needs the development data beside the repository (``../shared/data``). Goes on where an earlier start ended; the table
is ``results.csv``, the summary ``summary.md``, and ``worst_*.png`` show the three cases with the largest distance to
the truth afterwards.
"""

from __future__ import annotations

import argparse
import csv
import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
# name, unit, whether larger is better, factor for print
METRICS = {
    "cd": ("CD x 100", False, 100.0),
    "emd": ("EMD", False, 1.0),
    "dsc": ("DSC %", True, 100.0),
    "nsd": ("NSD 2 mm %", True, 100.0),
    "hd95_mm": ("HD95 mm", False, 1.0),
    "assd_mm": ("ASSD mm", False, 1.0),
}


def evaluate_case(organ: str, case: str, network: str, template_path: str, preset: str) -> dict:
    """Metrics of one prediction before and after refinement, with times and what the refinement reports."""
    import time

    import torch

    from ReShapeITLib.core.errors import ReShapeITError
    from ReShapeITLib.distance.surface import surface_from_mask
    from ReShapeITLib.io.volumes import read_labels
    from ReShapeITLib.refinement.options import REFINE_PRESETS
    from ReShapeITLib.refinement.refine import refine
    from ReShapeITLib.restoration.model import RestorationModel
    from ReShapeITLib.templates.template import OrganTemplate

    torch.set_num_threads(1)
    truth = _mask(read_labels(DATA / organ / f"{case}.nii.gz"))
    volume = read_labels(DATA / "predictions" / organ / case / f"{network}.nii.gz")
    given, geometry = _mask(volume), volume.geometry
    row = {"case": case, "network": network}
    reference = surface_from_mask(truth, geometry)
    before = _metrics(truth, given, geometry, reference, surface_from_mask(given, geometry))
    started = time.perf_counter()
    options = REFINE_PRESETS[preset]
    try:
        template, model = OrganTemplate.load(template_path), RestorationModel.for_template(template_path)
        shape = refine(given, geometry, template, options, force=True, restoration=model)
        after_mask, surface = shape.mask(geometry), shape.surface(options.surface_cell_mm)
    except ReShapeITError as error:
        return row | {"error": str(error)} | {f"before_{k}": before[k] for k in METRICS}
    row["seconds"] = round(time.perf_counter() - started, 2)
    after = _metrics(truth, after_mask, geometry, reference, surface)
    row |= {f"before_{k}": before[k] for k in METRICS} | {f"after_{k}": after[k] for k in METRICS}
    row["field_won"] = round(float((surface.point_data["field_weight"] > 0.5).mean()), 4)
    row["volume_z"] = round(shape.plausibility.volume_z, 2)
    row["alignment_z"] = round(shape.plausibility.alignment_z, 2)
    row["problems"] = "; ".join(shape.plausibility.problems)
    return row


def _metrics(truth, mask, geometry, reference, surface) -> dict[str, float]:
    """All six; the EMD of 1K points differs by a tenth from one sampling to the next, so four are averaged."""
    from ReShapeITLib.metrics import compare_surfaces, evaluate

    values = asdict(evaluate(truth, mask, geometry, reference, surface, nsd_tolerance_mm=2.0))
    more = [compare_surfaces(reference, surface, seed=seed).emd_mean for seed in (1, 2, 3)]
    return values | {"emd": float(np.mean([values["emd"], *more]))}


def _mask(volume) -> np.ndarray:
    """All non-zero voxels."""
    return volume.layers[0] != 0


def run_cases(jobs: list[tuple], path: Path, workers: int) -> list[dict]:
    """Evaluate all jobs that have no row yet; each row is kept as soon as it is there."""
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    done = {(r["case"], r["network"]) for r in rows}
    todo = [job for job in jobs if (job[1], job[2]) not in done]
    with ProcessPoolExecutor(workers) as pool, open(path, "a", encoding="utf-8") as file:
        for row in pool.map(evaluate_case, *zip(*todo, strict=True)) if todo else ():
            file.write(json.dumps(row) + "\n")
            file.flush()
            rows.append(row)
            print(row["case"], row["network"], _short(row), flush=True)
    return rows


def _short(row: dict) -> str:
    if "error" in row:
        return row["error"]
    factors = {key: factor for key, (_, _, factor) in METRICS.items()}
    return " ".join(f"{k} {f * row['before_' + k]:.3f}->{f * row['after_' + k]:.3f}" for k, f in factors.items())


def draw_worst(rows: list[dict], organ: str, template_path: str, preset: str, folder: Path, n: int = 3) -> None:
    """Truth, input and refined organ of the ``n`` cases with the largest ASSD after refinement."""
    from ReShapeITLib.distance.surface import signed_distance_grid, surface_from_grid, surface_from_mask
    from ReShapeITLib.io.volumes import read_labels
    from ReShapeITLib.pictures.rendering import render_panels
    from ReShapeITLib.pictures.slices import slice_contours
    from ReShapeITLib.refinement.options import REFINE_PRESETS
    from ReShapeITLib.refinement.refine import refine
    from ReShapeITLib.restoration.model import RestorationModel
    from ReShapeITLib.templates.template import OrganTemplate

    ranked = sorted((r for r in rows if "error" not in r), key=lambda r: -r["after_assd_mm"])
    for rank, row in enumerate(ranked[:n], start=1):
        case, network = row["case"], row["network"]
        volume = read_labels(DATA / "predictions" / organ / case / f"{network}.nii.gz")
        truth, given = _mask(read_labels(DATA / organ / f"{case}.nii.gz")), _mask(volume)
        template, model = OrganTemplate.load(template_path), RestorationModel.for_template(template_path)
        shape = refine(given, volume.geometry, template, REFINE_PRESETS[preset], force=True, restoration=model)
        distance = signed_distance_grid(truth, volume.geometry)
        panels = [("truth", surface_from_grid(distance)), ("input", surface_from_mask(given, volume.geometry))]
        panels.append(("refined", shape.surface()))
        name = f"{case} {network}, ASSD {row['before_assd_mm']:.2f} to {row['after_assd_mm']:.2f} mm"
        coloured = [(surface, title, distance.sdf_mm(surface.vertices_ras)) for title, surface in panels]
        coloured[0] = (panels[0][1], f"truth, {case} {network}", None)
        render_panels(
            coloured,
            ("anterior", "superior"),
            folder / f"worst_{rank}_surface.png",
            scalar_range_mm=(-15.0, 15.0),
            label="mm outside the truth",
        )
        masks = {"truth": truth, "input": given, "refined": shape.mask(volume.geometry)}
        slice_contours(masks, volume.geometry, folder / f"worst_{rank}_slices.png", title=name)


def summary(rows: list[dict], title: str) -> str:
    """Markdown table of means and medians before and after, and shares of cases improved and worsened."""
    rows = [r for r in rows if "error" not in r and np.isfinite(r["before_hd95_mm"])]
    lines = [f"### {title} ({len(rows)} cases)", ""]
    lines.append("| metric | mean before | mean after | median before | median after | improved | worsened |")
    lines.append("|" + "---|" * 7)
    for key, (name, larger, factor) in METRICS.items():
        before = np.array([r[f"before_{key}"] for r in rows]) * factor
        after = np.array([r[f"after_{key}"] for r in rows]) * factor
        gain = (after - before) if larger else (before - after)
        # Differences below a thousandth of the mean are sampling noise.
        noise = 1e-3 * np.abs(before).mean()
        lines.append(
            f"| {name} | {before.mean():.3f} | {after.mean():.3f} | {np.median(before):.3f} | {np.median(after):.3f} "
            f"| {np.mean(gain > noise):.0%} | {np.mean(gain < -noise):.0%} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line."""
    from ReShapeITLib.templates.store import find_template

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--organ", choices=("pancreas", "liver"), required=True)
    parser.add_argument("--networks", nargs="+", required=True)
    parser.add_argument("--template", help="template file; default: the one that has not seen these cases")
    parser.add_argument("--cases", nargs="*", help="default: the evaluation cases of the split")
    parser.add_argument("--preset", default="standard")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    template = arguments.template or str(find_template(arguments.organ))
    split = json.loads((DATA / "splits.json").read_text())[arguments.organ]
    cases = arguments.cases or split["eval_with_predictions"]
    arguments.output.mkdir(parents=True, exist_ok=True)
    jobs = [(arguments.organ, c, n, template, arguments.preset) for c in cases for n in arguments.networks]
    rows = run_cases(jobs, arguments.output / "rows.jsonl", arguments.workers)
    keys = sorted({k for r in rows for k in r}, key=lambda k: (k not in ("case", "network"), k))
    with open(arguments.output / "results.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, keys)
        writer.writeheader()
        writer.writerows(rows)
    parts = [summary(rows, f"{arguments.organ}, all networks")]
    parts += [summary([r for r in rows if r["network"] == n], f"{arguments.organ}, {n}") for n in arguments.networks]
    (arguments.output / "summary.md").write_text("\n".join(parts), encoding="utf-8")
    print("\n".join(parts))
    draw_worst(rows, arguments.organ, template, arguments.preset, arguments.output)


if __name__ == "__main__":
    main()
