"""Surface at 256^3 resolution in the narrow band against every node of the grid; prints JSON.

    python -m Testing.Benchmarks.bench_extraction [--rounds 3] [--resolution 256] [--output FILE]

The field is a patient drawn from the shipped liver template; both sides ask it by the same call. The two surfaces come
from the same grid, so their distance (largest, both ways, in cells) tells whether anything was missed.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from scipy.spatial import cKDTree

from ReShapeITLib.distance.narrow_band import extract_zero_level
from ReShapeITLib.job.demo import sample_field
from ReShapeITLib.templates.store import find_template
from ReShapeITLib.templates.template import OrganTemplate
from Testing.Benchmarks.measuring import compare, machine, rounded
from Testing.Benchmarks.paper_formulation import dense_zero_level


def measure(rounds: int, resolution: int) -> dict:
    """Times of both and the distance of their surfaces."""
    torch.set_num_threads(1)
    patient = sample_field(OrganTemplate.load(find_template("liver")), seed=1)
    centre = patient.ras_to_unit.inverse().apply(np.zeros((1, 3)))[0]
    bounds = centre - 1.05 * patient.mm_per_unit, centre + 1.05 * patient.mm_per_unit
    found, asked = {}, []

    def counted(points):
        asked.append(len(points))
        return patient.sdf_mm(points)

    def ours():
        found["ours"] = extract_zero_level(counted, bounds, resolution)[0]

    def dense():
        found["dense"] = dense_zero_level(patient.sdf_mm, *bounds, resolution)[0]

    ours()
    n_asked = sum(asked)
    figures = compare(ours, dense, rounds, warm_up=0)
    cell = 2.1 * patient.mm_per_unit / resolution
    apart = max(cKDTree(found[a]).query(found[b])[0].max() for a, b in (("ours", "dense"), ("dense", "ours")))
    return {
        "benchmark": "extraction",
        "machine": machine(),
        "resolution": resolution,
        **figures,
        "points_asked": n_asked,
        "points_dense": (resolution + 1) ** 3,
        "largest_distance_cells": rounded(apart / cell),
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--output", type=Path, help="also write the JSON there")
    arguments = parser.parse_args()
    text = json.dumps(measure(arguments.rounds, arguments.resolution), indent=1)
    print(text)
    if arguments.output:
        arguments.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
