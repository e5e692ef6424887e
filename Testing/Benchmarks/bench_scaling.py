"""Cost against work, which should be near-linear; prints JSON that ``run`` plots.

    python -m Testing.Benchmarks.bench_scaling [--rounds 3] [--output FILE]

``fit_points``: a fitting step (forward, backward) of the compact field for n points; ``training_shapes``: a training
step of the compact preset for n shapes; ``voxels``: from the mask of a ball to its surface in n voxels; ``labels``:
putting n refined balls back into a label volume; ``cpd_points``: a late CPD iteration for n x n points. Each has the
exponent p of seconds ~ work^p (1 is linear), from the least of ``rounds`` processor times.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.core.labels import LabelVolume
from ReShapeITLib.distance.narrow_band import label_mask
from ReShapeITLib.distance.surface import surface_from_mask
from ReShapeITLib.field.deform_template import FIELD_PRESETS, DeformTemplateField
from ReShapeITLib.interaction.cpd import CpdOptions, similarity_cpd
from ReShapeITLib.refinement.several_organs.joint import combine
from Testing.Benchmarks.bench_cpd import lopsided
from Testing.Benchmarks.bench_training_step import our_step, random_batch
from Testing.Benchmarks.measuring import machine, processor_seconds, rounded, slope


class Ball:
    """A refined organ with an exact distance."""

    def __init__(self, centre_ras, radius_mm: float):
        self.centre_ras, self.radius_mm = np.asarray(centre_ras, dtype=float), radius_mm
        self.bounds_ras = self.centre_ras - radius_mm - 2.0, self.centre_ras + radius_mm + 2.0

    def sdf_mm(self, points_ras: np.ndarray) -> np.ndarray:
        """(N,) distance at (N, 3) points."""
        return np.linalg.norm(points_ras - self.centre_ras, axis=1) - self.radius_mm

    def mask(self, geometry: ImageGeometry) -> np.ndarray:
        """(K, J, I) voxels inside."""
        return label_mask(self.sdf_mm, geometry, self.bounds_ras)


def cpd_points(n: int) -> Callable:
    """A late iteration, and the posterior, for n x n points."""
    source, target = lopsided(n, 0), lopsided(n, 1) + 0.05
    options = CpdOptions(max_iterations=1, tolerance=0, initial_sigma2=0.02**2)
    return lambda: similarity_cpd(source, target, options)


def fit_points(n: int) -> Callable:
    """Values and gradients of a field at n points, and back to the codes."""
    model = DeformTemplateField(FIELD_PRESETS["compact"]).requires_grad_(False)
    points = torch.rand(1, n, 3) - 0.5
    codes = [(0.1 * torch.randn(1, model.options.code_size)).requires_grad_() for _ in range(2)]

    def step():
        values = model.evaluate(model.deform_layers(*codes), points)
        torch.autograd.grad(values.sdf.abs().mean() + values.gradient.norm(dim=-1).mean(), codes)

    return step


def training_shapes(n: int) -> Callable:
    """Forward and backward pass of a training step for n shapes of 500 points."""
    model = DeformTemplateField(FIELD_PRESETS["compact"])
    codes = [(0.3 * torch.randn(n, model.options.code_size)).requires_grad_() for _ in range(2)]
    batch = random_batch(n, 500, torch.Generator().manual_seed(0))
    return lambda: our_step(model, *codes, batch).backward()


def voxels(n: int) -> Callable:
    """From the mask of a ball to its surface in about n voxels."""
    edge = round(n ** (1 / 3))
    k, j, i = np.ogrid[:edge, :edge, :edge]
    mask = (k - edge / 2) ** 2 + (j - edge / 2) ** 2 + (i - edge / 2) ** 2 < (0.4 * edge) ** 2
    geometry = ImageGeometry.from_parts((edge,) * 3, (1.0, 1.0, 1.0))
    return lambda: surface_from_mask(mask, geometry)


def labels(n: int) -> Callable:
    """n refined balls back into a volume that holds smaller ones, all in a row."""
    geometry = ImageGeometry.from_parts((60 * n, 60, 60), (1.0, 1.0, 1.0))
    balls = {number: Ball((60 * number - 30, 30, 30), 25.0) for number in range(1, n + 1)}
    array = np.zeros(geometry.shape_kji, dtype=np.uint8)
    for number, ball in balls.items():
        array[Ball(ball.centre_ras, 20.0).mask(geometry)] = number
    volume = LabelVolume.from_array(array, geometry)
    return lambda: combine(volume, balls)


WORK = {
    cpd_points: (1000, 2000, 4000, 8000),
    fit_points: (500, 1000, 2000, 4000, 8000),
    training_shapes: (1, 2, 4, 8),
    voxels: (1_000_000, 2_000_000, 4_000_000, 8_000_000),
    labels: (1, 2, 4, 8),
}


def curve(make: Callable, sizes: tuple[int, ...], rounds: int) -> dict:
    """Seconds for each size, and the exponent."""
    seconds = []
    for size in sizes:
        work = make(size)
        work()
        seconds.append(min(processor_seconds(work)[0] for _ in range(rounds)))
    return {"work": sizes, "seconds": [rounded(s) for s in seconds], "exponent": slope(sizes, seconds)}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, help="also write the JSON there")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    curves = {make.__name__: curve(make, sizes, arguments.rounds) for make, sizes in WORK.items()}
    text = json.dumps({"benchmark": "scaling", "machine": machine(), "curves": curves}, indent=1)
    print(text)
    if arguments.output:
        arguments.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
