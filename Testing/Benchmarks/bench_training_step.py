"""How much faster a training step is with derivatives written out than with nested autograd, and that both agree.

    python -m Testing.Benchmarks.bench_training_step [--rounds 7] [--threads 1] [--output FILE]

Prints JSON. One step is the forward and the backward pass of all terms of Eq. 4 to 6 for one batch of the compact
preset, up to the gradients of Temp, H and the codes; the optimiser's own update is the same for both and left out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from ReShapeITLib import losses
from ReShapeITLib.fields import FIELD_PRESETS, DeformTemplateField
from ReShapeITLib.siren import siren_jet
from Testing.oracles import nested_gradient, nested_laplacian, paper_temp, plain_siren, relative_error

N_SHAPES, N_POINTS, N_SURFACE = 8, 500, 250


def weighted_loss(sdf, gradient, template_gradient, laplacian, ddis, batch) -> torch.Tensor:
    """Eq. 4 to 6 and L_dis with the compact preset's weights."""
    points, normals, target = batch
    return (
        3e3 * losses.sdf_loss(sdf, target) + 1e2 * losses.normal_loss(gradient[:, :N_SURFACE], normals)
        + 5e1 * losses.eikonal_loss(gradient) + 2e1 * losses.off_surface_loss(sdf[:, N_SURFACE:])
        + 1e2 * losses.template_normal_loss(template_gradient[:, :N_SURFACE], normals)
        + 5.0 * losses.smoothness_loss(laplacian) + 1e2 * losses.displacement_loss(ddis)
    )  # fmt: skip


def our_loss(model, alpha, beta, batch) -> torch.Tensor:
    """The library's formulation: alpha in the bias, one reverse sweep, the Laplacian propagated forward."""
    deform = model.deform_layers(alpha, beta)
    values = model.evaluate(deform, batch[0])
    laplacian = siren_jet(deform, batch[0], model.options.omegas)[2][..., :3]
    return weighted_loss(values.sdf, values.gradient, values.template_gradient, laplacian, values.ddis, batch)


def nested_loss(model, alpha, beta, batch) -> torch.Tensor:
    """The usual formulation: alpha concatenated to every point, all derivatives by ``autograd.grad``."""
    points = batch[0].clone().requires_grad_()
    x = torch.cat([points, alpha[:, None].expand(-1, points.shape[1], -1)], dim=-1)
    moved = plain_siren(model.hyper(beta), x, model.options.omegas)
    warped = points + moved[..., :3]
    temp = paper_temp(model, warped)
    sdf = temp + moved[..., 3]
    gradient, template_gradient = nested_gradient(sdf, points), nested_gradient(temp, warped)
    laplacian = nested_laplacian(moved[..., :3], points)
    return weighted_loss(sdf, gradient, template_gradient, laplacian, moved[..., 3], batch)


def random_batch(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Points (S, N, 3), surface first, normals and distances of unit-frame spheres of radius 0.6."""
    points = torch.rand(N_SHAPES, N_POINTS, 3, generator=generator) * 2 - 1
    normals = torch.nn.functional.normalize(points[:, :N_SURFACE], dim=-1)
    points[:, :N_SURFACE] = 0.6 * normals
    return points, normals, points.norm(dim=-1) - 0.6


def measure(rounds: int = 7, threads: int = 1) -> dict:
    """Median seconds of both formulations over ``rounds`` alternating runs after one of each to warm up."""
    torch.set_num_threads(threads)
    model = DeformTemplateField(FIELD_PRESETS["compact"])
    generator = torch.Generator().manual_seed(0)
    alpha, beta = (0.3 * torch.randn(N_SHAPES, model.options.code_size, generator=generator) for _ in range(2))
    parameters = [p for name, p in model.named_parameters() if not name.startswith("template_")]
    parameters += [alpha.requires_grad_(), beta.requires_grad_()]
    batch = random_batch(generator)

    def timed(loss: Callable) -> tuple[float, torch.Tensor]:
        start = time.perf_counter()
        gradients = torch.autograd.grad(loss(model, alpha, beta, batch), parameters)
        return time.perf_counter() - start, torch.cat([g.flatten() for g in gradients])

    ours, nested = timed(our_loss)[1], timed(nested_loss)[1]
    # In turns, and the ratio within each turn, so that it means something on a busy machine.
    seconds = [(timed(our_loss)[0], timed(nested_loss)[0]) for _ in range(rounds)]
    ours_s, nested_s = (statistics.median(column) for column in zip(*seconds, strict=True))
    return {
        "benchmark": "training_step",
        "preset": "compact", "shapes": N_SHAPES, "points_per_shape": N_POINTS, "threads": threads, "rounds": rounds,
        "ours_s": round(ours_s, 4), "nested_s": round(nested_s, 4),
        "ratio": round(statistics.median(b / a for a, b in seconds), 2),
        "gradient_difference": relative_error(ours, nested),
        "torch": torch.__version__,
    }  # fmt: skip


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, help="also write the JSON there")
    arguments = parser.parse_args()
    text = json.dumps(measure(arguments.rounds, arguments.threads), indent=1)
    print(text)
    if arguments.output:
        arguments.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
