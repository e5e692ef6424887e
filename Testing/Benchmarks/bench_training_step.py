"""How much faster a training step is with derivatives written out than with nested autograd, and that both agree.

    python -m Testing.Benchmarks.bench_training_step [--rounds 7] [--threads 1] [--output FILE]

Prints JSON. ``step`` is the forward and the backward pass of all terms of Eq. 4 to 6 for one batch of the compact
preset, up to the gradients of Temp, H and the codes; the optimiser's own update is the same for both and left out.
``laplacian`` is L_vec (Eq. 6) alone. Times are processor seconds, so that other work on the machine does not count.
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


def our_step(model, alpha, beta, batch) -> torch.Tensor:
    """The library's formulation: alpha in the bias, one reverse sweep, the Laplacian propagated forward."""
    deform = model.deform_layers(alpha, beta)
    values = model.evaluate(deform, batch[0])
    laplacian = siren_jet(deform, batch[0], model.options.omegas)[2][..., :3]
    return weighted_loss(values.sdf, values.gradient, values.template_gradient, laplacian, values.ddis, batch)


def nested_step(model, alpha, beta, batch) -> torch.Tensor:
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


def our_laplacian(model, alpha, beta, batch) -> torch.Tensor:
    """L_vec by forward propagation."""
    deform = model.deform_layers(alpha, beta)
    return losses.smoothness_loss(siren_jet(deform, batch[0], model.options.omegas)[2][..., :3])


def nested_laplacian_loss(model, alpha, beta, batch) -> torch.Tensor:
    """L_vec by differentiating twice."""
    points = batch[0].clone().requires_grad_()
    deform = model.deform_layers(alpha, beta)
    return losses.smoothness_loss(nested_laplacian(plain_siren(deform, points, model.options.omegas)[..., :3], points))


def random_batch(generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Points (S, N, 3), surface first, normals and distances of unit-frame spheres of radius 0.6."""
    points = torch.rand(N_SHAPES, N_POINTS, 3, generator=generator) * 2 - 1
    normals = torch.nn.functional.normalize(points[:, :N_SURFACE], dim=-1)
    points[:, :N_SURFACE] = 0.6 * normals
    return points, normals, points.norm(dim=-1) - 0.6


def measure(rounds: int = 7, threads: int = 1) -> dict:
    """Both formulations in turns, ``rounds`` times after one run of each to warm up."""
    torch.set_num_threads(threads)
    model = DeformTemplateField(FIELD_PRESETS["compact"])
    generator = torch.Generator().manual_seed(0)
    codes = [0.3 * torch.randn(N_SHAPES, model.options.code_size, generator=generator) for _ in range(2)]
    parameters = [p for name, p in model.named_parameters() if not name.startswith("template_")]
    parameters += [code.requires_grad_() for code in codes]
    batch = random_batch(generator)

    def timed(loss: Callable) -> tuple[float, torch.Tensor]:
        start = time.process_time()
        gradients = torch.autograd.grad(loss(model, *codes, batch), parameters, materialize_grads=True)
        return time.process_time() - start, torch.cat([g.flatten() for g in gradients])

    return {
        "benchmark": "training_step", "preset": "compact", "shapes": N_SHAPES, "points_per_shape": N_POINTS,
        "threads": threads, "rounds": rounds, "torch": torch.__version__,
        "step": compare(timed, our_step, nested_step, rounds),
        "laplacian": compare(timed, our_laplacian, nested_laplacian_loss, rounds),
    }  # fmt: skip


def compare(timed: Callable, ours: Callable, nested: Callable, rounds: int) -> dict:
    """Median seconds of both, the median of the ratios of neighbouring runs, and how far the gradients differ."""
    difference = relative_error(timed(ours)[1], timed(nested)[1])
    seconds = [(timed(ours)[0], timed(nested)[0]) for _ in range(rounds)]
    ours_s, nested_s = (statistics.median(column) for column in zip(*seconds, strict=True))
    ratio = statistics.median(b / a for a, b in seconds)
    return {
        "ours_s": round(ours_s, 4), "nested_s": round(nested_s, 4), "ratio": round(ratio, 2),
        "gradient_difference": difference,
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
