"""A fitting step and a whole fit against the paper's fine-tuning of H, on a held-out liver; prints JSON.

    python -m Testing.Benchmarks.bench_fit [--rounds 5] [--baseline-steps 1500] [--template FILE] [--output FILE]

Both sides start from the nearest training codes of the shipped template and see the same surface and free-space points
of one organ that no training saw: a liver of the development data where that is there, else a patient drawn from the
template. ``as_used`` is one step as each side makes it; ``same_points`` has 4K + 4K points on both sides. ``fit`` is
our whole fit, once as refinements use it (held near the shape space and turned from points that contradict it, which a
damaged organ needs) and once free of that, as Eq. 8 is. Of the baseline ``--baseline-steps`` steps are run, and the
residual (mean |F| in mm at 4,000 other surface points) is read along the way. Times are processor seconds.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ReShapeITLib.distance.of_mesh import MeshDistance
from ReShapeITLib.distance.surface import surface_from_mask
from ReShapeITLib.interaction.alignment import align_to_template
from ReShapeITLib.interaction.candidates import CandidateOptions, with_free_space
from ReShapeITLib.interaction.fitting import fit_field
from ReShapeITLib.io.volumes import read_labels
from ReShapeITLib.job.demo import draw_patient
from ReShapeITLib.refinement.aligned import alignment_with_scale_prior
from ReShapeITLib.refinement.options import REFINE_PRESETS
from ReShapeITLib.templates.store import find_template
from ReShapeITLib.templates.template import OrganTemplate
from Testing.Benchmarks.measuring import DATA, machine, processor_seconds, rounded
from Testing.Benchmarks.paper_formulation import FINE_TUNING_STEPS, POINTS_OF_EACH_KIND, FineTuning, Target

HELD_OUT = "t3_37"
FREE = {
    "code_steps": 40,
    "weight_steps": 200,
    "weight_learning_rate": 1e-3,
    "weight_prior": 0.0,
    "robust_mm": (0.0, 0.0),
    "outside": 0.0,
    "smoothness": 0.0,
}


def held_out_shape(template: OrganTemplate):
    """Name and surface of an organ that no training saw."""
    file = DATA / "liver" / f"{HELD_OUT}.nii.gz"
    if file.is_file():
        volume = read_labels(file)
        return HELD_OUT, surface_from_mask(volume.layers[0] > 0, volume.geometry)
    return "drawn", surface_from_mask(*draw_patient(template, seed=1))


def problem(template: OrganTemplate):
    """Name, candidates, alignment, and (N, 3) other surface points in the unit frame."""
    name, surface = held_out_shape(template)
    rng = np.random.default_rng(0)
    points, normals, _ = surface.sample_points(4000, rng)
    options = alignment_with_scale_prior(REFINE_PRESETS["standard"].alignment, template)
    to_unit = align_to_template(points, template.points_unit, options).ras_to_unit
    signed = MeshDistance(surface)
    candidates = with_free_space(points, normals, np.ones(len(points)), signed, to_unit, CandidateOptions(), rng)
    return name, candidates, to_unit, to_unit.apply(surface.sample_points(4000, rng)[0])


def measure(rounds: int, baseline_steps: int, template_name: str) -> dict:
    """All figures of this benchmark."""
    torch.set_num_threads(1)
    template = OrganTemplate.load(find_template(template_name))
    name, candidates, to_unit, others = problem(template)
    options, mm = REFINE_PRESETS["standard"].fit, 1.0 / to_unit.scale

    def fit(**changes):
        return fit_field(template, candidates, to_unit, replace(options, **changes))

    fit(code_steps=1, weight_steps=1)
    fits = {name: whole_fit(partial(fit, **changes), others) for name, changes in (("as_used", {}), ("free", FREE))}
    start = fit(code_steps=0, weight_steps=0)
    tuning = FineTuning(copy.deepcopy(template.model), start.alpha, start.beta, Target.of(candidates))
    with_laplacian = FineTuning(
        copy.deepcopy(template.model), start.alpha, start.beta, Target.of(candidates), with_laplacian=True
    )
    steps = compare_steps(fit, tuning, with_laplacian, rounds)
    way = follow(tuning, torch.as_tensor(others, dtype=torch.float32), mm, baseline_steps)
    step_s = steps["as_used"]["baseline_s"]
    return {
        "benchmark": "fit",
        "shape": name,
        "machine": machine(),
        **steps,
        "baseline_1500_steps_s": rounded(step_s * FINE_TUNING_STEPS),
        "fit": {name: against(way, step_s, *ours) for name, ours in fits.items()},
        "baseline_way": [{"steps": n, "seconds": rounded(s), "residual_mm": rounded(r)} for n, s, r in way],
    }


def whole_fit(fit, others: np.ndarray) -> tuple[float, float]:
    """Processor seconds of a fit, and its residual in mm at other surface points of the unit frame."""
    seconds, fitted = processor_seconds(fit)
    return seconds, float(np.abs(fitted.sdf_mm(fitted.ras_to_unit.inverse().apply(others))).mean())


def against(way, step_s: float, ours_s: float, ours_mm: float) -> dict:
    """Our fit against the baseline's way to the same residual, and against all of its steps."""
    reached = next((n for n, _, residual in way if residual <= ours_mm), None)
    return {
        "ours_s": rounded(ours_s),
        "ours_residual_mm": rounded(ours_mm),
        "ratio_to_1500_steps": rounded(step_s * FINE_TUNING_STEPS / ours_s),
        "baseline_steps_to_our_residual": reached,
        "ratio_to_our_residual": reached and rounded(step_s * reached / ours_s),
    }


def compare_steps(fit, tuning, with_laplacian, rounds: int) -> dict:
    """One step of both, as used and with the same points; ours is the mean of a few of either stage, start-up off."""

    def per_step(n: int, **changes):
        none = {"code_steps": 0, "weight_steps": 0}
        # Start-up looks for the nearest training codes, on the same points.
        start_s, *seconds = (
            processor_seconds(lambda steps=steps: fit(**none | steps, **changes))[0]
            for steps in ({}, {"code_steps": n}, {"weight_steps": n})
        )
        return (sum(seconds) - 2 * start_s) / (2 * n)

    many = {"n": 4, "surface_points": POINTS_OF_EACH_KIND, "free_points": POINTS_OF_EACH_KIND}
    figures = {}
    for name, changes, baseline in (
        ("as_used", {"n": 10}, tuning),
        ("same_points", many, tuning),
        ("same_points_with_unused_laplacian", many, with_laplacian),
    ):
        baseline.step()
        runs = [(per_step(**changes), processor_seconds(baseline.step)[0]) for _ in range(rounds)]
        ours_s, baseline_s = (float(np.median(column)) for column in zip(*runs, strict=True))
        ratio = float(np.median([b / a for a, b in runs]))
        figures[name] = {"ours_s": rounded(ours_s), "baseline_s": rounded(baseline_s), "ratio": rounded(ratio)}
    return figures


def follow(tuning: FineTuning, points: torch.Tensor, mm: float, steps: int) -> list[tuple[int, float, float]]:
    """(steps, processor seconds, residual in mm) along the baseline's way, at a dozen places."""
    way, spent = [], 0.0
    for n in range(1, steps + 1):
        spent += processor_seconds(tuning.step)[0]
        if n in (1, 3, 10, 30) or n % max(1, steps // 15) == 0:
            way.append((n, spent, tuning.residual(points) * mm))
            print(f"baseline, step {n}: {spent:.0f} s, {way[-1][2]:.3f} mm", file=sys.stderr, flush=True)
    return way


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--baseline-steps", type=int, default=60, help="1500 takes a quarter of an hour (default: 60)")
    parser.add_argument("--template", default="liver", help="of the liver, name or file (default: liver)")
    parser.add_argument("--output", type=Path, help="also write the JSON there")
    arguments = parser.parse_args()
    text = json.dumps(measure(arguments.rounds, arguments.baseline_steps, arguments.template), indent=1)
    print(text)
    if arguments.output:
        arguments.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
