"""How much faster a training step is with derivatives written out than with nested autograd, and that both agree.

    python -m Testing.Benchmarks.bench_training_step [--preset paper] [--rounds 5] [--threads 1] [--output FILE]

Prints JSON, for the paper's configuration (hidden 256, codes 128) and for the compact preset. ``step`` is the forward
and the backward pass of all terms of Eq. 4 to 6 for one batch, up to the gradients of Temp, H and the codes; the
optimiser's own update is the same for both and left out. The batches are smaller than the paper's 16 x 8,000 points,
which the processor takes minutes for; the ratio hardly depends on that.
``laplacian`` is L_vec (Eq. 6) alone. Times are processor seconds, so that other work on the machine does not count.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from ReShapeITLib.field import losses
from ReShapeITLib.field.deform_template import FIELD_PRESETS, DeformTemplateField
from ReShapeITLib.field.siren import siren_jet
from Testing.Benchmarks.measuring import compare, machine
from Testing.Benchmarks.paper_formulation import training_loss, weighted_loss
from Testing.oracles import nested_laplacian, plain_siren, relative_error

SIZES = {"paper": (1, 2000), "compact": (8, 500)}  # shapes, points of each


def our_step(model, alpha, beta, batch) -> torch.Tensor:
    """The library's formulation: alpha in the bias, one reverse sweep, the Laplacian propagated forward."""
    deform = model.deform_layers(alpha, beta)
    v, truth = model.evaluate(deform, batch[0], with_laplacian=True), batch[1:]
    n_surface = truth[0].shape[1]
    return weighted_loss(v.sdf, v.gradient, v.template_gradient, v.dvec_laplacian, v.ddis, truth, n_surface)


def nested_step(model, alpha, beta, batch) -> torch.Tensor:
    """The usual formulation: alpha concatenated to every point, all derivatives by ``autograd.grad``."""
    return training_loss(model, alpha, beta, batch, batch[1].shape[1])


def our_laplacian(model, alpha, beta, batch) -> torch.Tensor:
    """L_vec by forward propagation."""
    deform = model.deform_layers(alpha, beta)
    return losses.smoothness_loss(siren_jet(deform, batch[0], model.options.omegas)[2][..., :3])


def nested_laplacian_loss(model, alpha, beta, batch) -> torch.Tensor:
    """L_vec by differentiating twice."""
    points = batch[0].clone().requires_grad_()
    deform = model.deform_layers(alpha, beta)
    return losses.smoothness_loss(nested_laplacian(plain_siren(deform, points, model.options.omegas)[..., :3], points))


def random_batch(n_shapes: int, n_points: int, generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """Points (S, N, 3), surface first, normals (S, N / 2, 3) and distances (S, N): spheres of radius 0.6."""
    points = torch.rand(n_shapes, n_points, 3, generator=generator) * 2 - 1
    normals = torch.nn.functional.normalize(points[:, : n_points // 2], dim=-1)
    points[:, : n_points // 2] = 0.6 * normals
    return points, normals, points.norm(dim=-1) - 0.6


def measure(preset: str, rounds: int = 5) -> dict:
    """Both formulations in turns, ``rounds`` times after one run of each to warm up."""
    model = DeformTemplateField(FIELD_PRESETS[preset])
    generator = torch.Generator().manual_seed(0)
    n_shapes, n_points = SIZES[preset]
    codes = [0.3 * torch.randn(n_shapes, model.options.code_size, generator=generator) for _ in range(2)]
    parameters = [p for name, p in model.named_parameters() if not name.startswith("template_")]
    parameters += [code.requires_grad_() for code in codes]
    batch = random_batch(n_shapes, n_points, generator)

    def gradients(loss: Callable) -> torch.Tensor:
        parts = torch.autograd.grad(loss(model, *codes, batch), parameters, materialize_grads=True)
        return torch.cat([part.flatten() for part in parts])

    figures = {}
    for name, ours, nested in (("step", our_step, nested_step), ("laplacian", our_laplacian, nested_laplacian_loss)):
        difference = relative_error(gradients(ours), gradients(nested))
        figures[name] = compare(partial(gradients, ours), partial(gradients, nested), rounds, warm_up=0)
        figures[name]["gradient_difference"] = difference
    return {"shapes": n_shapes, "points_per_shape": n_points, **figures}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=SIZES, help="only this one")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, help="also write the JSON there")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    presets = [arguments.preset] if arguments.preset else list(SIZES)
    results = {"benchmark": "training_step", "machine": machine()}
    text = json.dumps(results | {preset: measure(preset, arguments.rounds) for preset in presets}, indent=1)
    print(text)
    if arguments.output:
        arguments.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
