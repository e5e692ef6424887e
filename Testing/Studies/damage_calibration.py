"""How far made damage of a given strength is from the truth: what ``damage_levels.ORGAN_DAMAGE`` was chosen by.

    python -m Testing.Studies.damage_calibration STUDY.yaml --sizes 0.5 0.8 1.2 --draws 2

Damages the study's training organs (or, where it names none, its truths) with ``combined`` at the middle level, once
for each size, and prints mean CD x 100, EMD, DSC and HD95 beside the paper's initial values.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np

from ReShapeITLib.damage import levels as damage_levels
from ReShapeITLib.distance.surface import surface_from_mask
from ReShapeITLib.io.volumes import read_labels
from ReShapeITLib.metrics import evaluate
from ReShapeITLib.training.prepare import thinned
from Testing.Studies.evaluation.measure import AS_IT_IS
from Testing.Studies.evaluation.study import read_study

# Section 4.3: CD x 100, EMD and HD95 (mm) of what the paper's refinement was given.
PAPER = {"liver": (0.407, 0.113, 18.05), "pancreas": (0.223, 0.097, 4.91), "lung": (0.677, 0.115, 14.97)}


def main() -> None:
    """Print one line for each size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study")
    parser.add_argument("--sizes", type=float, nargs="+", required=True)
    parser.add_argument("--reach", type=float, default=None)
    parser.add_argument("--draws", type=int, default=1, help="random damages of each case")
    parser.add_argument("--cases", type=int, default=8)
    parser.add_argument("--spacing", type=float, default=1.6, help="finer grids are thinned to about this, mm")
    arguments = parser.parse_args()
    study = read_study(arguments.study)
    organs = list(_organs(study, arguments.cases, arguments.spacing))
    print(study.organ, "paper:", next((v for k, v in PAPER.items() if study.organ.startswith(k)), None))
    plain = damage_levels.ORGAN_DAMAGE.get(study.organ, damage_levels.OrganDamage())
    for size in arguments.sizes:
        strength = replace(plain, size=size, reach=arguments.reach or plain.reach)
        damage_levels.ORGAN_DAMAGE[study.organ] = strength
        values = []
        for number, (truth, beside, geometry, surface) in enumerate(organs):
            for draw in range(arguments.draws):
                rng = np.random.default_rng([number, draw])
                hurt = damage_levels.damage_input(truth, geometry, "combined", "middle", rng, [beside], study.organ)
                told = evaluate(truth, hurt, geometry, surface, surface_from_mask(hurt, geometry, AS_IT_IS), 2.0)
                values.append((told.cd_x100, told.emd, told.dsc, told.hd95_mm))
        mean, median = np.mean(values, axis=0), np.median(values, axis=0)
        print(f"size {size:g} reach {strength.reach:g}: mean", mean.round(3), "median", median.round(3), flush=True)


def _organs(study, most: int, spacing_mm: float):
    for path in (study.training or study.truths)[:most]:
        volume = read_labels(path)
        labels = volume.flattened() % study.label_modulo if study.label_modulo else volume.flattened()
        truth = labels == study.label if study.label else labels != 0
        labels, geometry = damage_levels.with_room(labels, truth, volume.geometry, 40.0)
        truth = labels == study.label if study.label else labels != 0
        beside, _ = thinned((labels != 0) & ~truth, geometry, spacing_mm)
        truth, geometry = thinned(truth, geometry, spacing_mm)
        yield truth, beside, geometry, surface_from_mask(truth, geometry, AS_IT_IS)


if __name__ == "__main__":
    main()
