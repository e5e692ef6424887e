"""Training the denoising autoencoder on the same cases and the same damage as the restoration network."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch

from ReShapeITLib.core.progress import Progress
from ReShapeITLib.restoration.network import GIVEN_LIMIT_CELLS
from ReShapeITLib.restoration_training.config import DrawOptions
from ReShapeITLib.restoration_training.data import PADDING_CELLS, BatchSource, RestorationCase
from ReShapeITLib.restoration_training.loop import restoration_loss
from ReShapeITLib.training.checkpoint import load_checkpoint, save_checkpoint

from .rivals_denoiser import DenoiserOptions, DenoisingAutoencoder

_LOG_INTERVAL = 20


@dataclass(frozen=True)
class DenoiserTraining:
    """One training run.

    Args:
        steps: optimisation steps.
        learning_rate: peak rate of AdamW; linear warm-up, then a cosine to a hundredth.
        warmup_steps: of the learning rate.
        draw: poses and damage.
        seed: of initialisation and draws.
        workers: processes that make batches.
        checkpoint_interval: steps between checkpoints.
    """

    steps: int = 1000
    learning_rate: float = 1e-3
    warmup_steps: int = 50
    draw: DrawOptions = field(default_factory=DrawOptions)
    seed: int = 0
    workers: int = 1
    checkpoint_interval: int = 100


def train_denoiser(
    cases: list[RestorationCase],
    options: DenoiserTraining,
    folder: Path,
    progress: Progress | None = None,
    size: dict | None = None,
) -> DenoisingAutoencoder:
    """The trained network; goes on from ``folder/checkpoint.safetensors`` where it is there.

    Args:
        cases: of one organ.
        options: settings.
        folder: for checkpoint and ``train.jsonl``; made if absent.
        progress: told the steps; its cancel check ends the work.
        size: fields of ``DenoiserOptions`` beside the grid's shape.

    Raises:
        BadInputError: the checkpoint is damaged or of a run with other settings.
    """
    progress = progress or Progress("none")
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    shape = tuple(n - 2 * PADDING_CELLS for n in cases[0].truth.shape)
    network = DenoisingAutoencoder(DenoiserOptions(shape, **(size or {}))).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=options.learning_rate, weight_decay=1e-2)
    generator, step, checkpoint = torch.Generator(), 0, folder / "checkpoint.safetensors"
    if checkpoint.is_file():
        step, _ = load_checkpoint(checkpoint, network, {}, optimiser, generator, asdict(options))
    source = BatchSource(cases, options.draw, options.seed, step, options.steps)
    for _, given, _, truth in torch.utils.data.DataLoader(source, batch_size=None, num_workers=options.workers):
        for group in optimiser.param_groups:
            group["lr"] = options.learning_rate * _rate(step, options)
        terms = _descend(network, optimiser, given, truth)
        step += 1
        if step % _LOG_INTERVAL == 0:
            with open(folder / "train.jsonl", "a", encoding="utf-8") as log:
                log.write(json.dumps({"step": step} | terms) + "\n")
        if step % options.checkpoint_interval == 0 or step == options.steps:
            save_checkpoint(checkpoint, network, {}, optimiser, generator, {}, step, asdict(options))
        progress.stage("train", step / options.steps, ", ".join(f"{k} {v:.3f}" for k, v in terms.items()))
    return network.eval()


def _descend(network, optimiser, given: torch.Tensor, truth: torch.Tensor) -> dict[str, float]:
    """One step; the loss terms, and what leaving the input as it is would cost."""
    terms = restoration_loss(network(given), truth)
    optimiser.zero_grad(set_to_none=True)
    sum(terms.values()).backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimiser.step()
    terms["input"] = restoration_loss(given.clamp(-GIVEN_LIMIT_CELLS, GIVEN_LIMIT_CELLS), truth)["distance"]
    return {name: round(float(value.detach()), 5) for name, value in terms.items()}


def _rate(step: int, options: DenoiserTraining) -> float:
    warm = min(1.0, (step + 1) / max(1, options.warmup_steps))
    return warm * (0.01 + 0.99 * 0.5 * (1 + np.cos(np.pi * min(1.0, step / options.steps))))
