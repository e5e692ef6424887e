"""Restoration networks side by side on damaged patients that are drawn from a template, which none of them has seen.

    python -m Testing.Studies.drawn_patients --organ pancreas --patients 8 --networks FILE FILE

For networks that have learnt from all cases, so that no real one is left to measure them with. Such patients are easy:
the truth lies in the template's shape space. Printed are Dice, HD95 and ASSD of each damaged (middle level) and refined
organ, and their means. Needs no development data.
"""

from __future__ import annotations

import argparse

import numpy as np


def measured(truth: np.ndarray, mask: np.ndarray, geometry) -> tuple[float, float, float]:
    """Dice in percent, HD95 and ASSD in mm."""
    from ReShapeITLib.metrics.masks import compare_masks

    values = compare_masks(truth, mask, geometry, nsd_tolerance_mm=2.0)
    return 100.0 * values.dsc, values.hd95_mm, values.assd_mm


def told(values) -> str:
    """The three as one cell of the table."""
    return "{:.2f} %, {:.1f}, {:.2f} mm".format(*values)


def main() -> None:
    """Command line."""
    import torch

    from ReShapeITLib.damage.levels import damage_input
    from ReShapeITLib.job.demo import draw_patient
    from ReShapeITLib.refinement.refine import refine
    from ReShapeITLib.restoration.model import RestorationModel
    from ReShapeITLib.templates.store import find_template
    from ReShapeITLib.templates.template import OrganTemplate

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--organ", required=True)
    parser.add_argument("--patients", type=int, default=8)
    parser.add_argument("--networks", nargs="+", required=True, help="restoration network files")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    template = OrganTemplate.load(find_template(arguments.organ))
    networks = [RestorationModel.load(file) for file in arguments.networks]
    print(f"| patient | damaged: Dice, HD95, ASSD | {' | '.join(arguments.networks)} |")
    print("|---" * (2 + len(networks)) + "|")
    rows = []
    for seed in range(arguments.patients):
        truth, geometry = draw_patient(template, seed=seed)
        rng = np.random.default_rng([seed, 5])
        damaged = damage_input(truth, geometry, "combined", "middle", rng, organ=arguments.organ)
        refined = [refine(damaged, geometry, template, restoration=n, force=True).mask(geometry) for n in networks]
        rows.append([measured(truth, mask, geometry) for mask in (damaged, *refined)])
        print(f"| {seed} | {' | '.join(map(told, rows[-1]))} |", flush=True)
    print(f"| mean | {' | '.join(map(told, np.mean(rows, axis=0)))} |")


if __name__ == "__main__":
    main()
