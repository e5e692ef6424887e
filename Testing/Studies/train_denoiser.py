"""Train the rival that denoises without a template, on the cases and damage of a restoration network.

    python -m Testing.Studies.train_denoiser --config Resources/Training/restoration_abdomen_2.yaml \\
        --organ pancreas --output runs/denoiser/pancreas

The same command goes on where it stopped. A study uses the file by ``{name: denoiser, model: FILE}``.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

import torch

from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.core.progress import Progress
from ReShapeITLib.restoration_training.cases import training_cases
from ReShapeITLib.restoration_training.config import read_restoration_config
from Testing.Studies.evaluation.rivals_denoiser import Denoiser, DenoiserInfo
from Testing.Studies.evaluation.rivals_denoiser_training import DenoiserTraining, train_denoiser


def main(arguments: list[str] | None = None) -> None:
    """Read the cases (kept in the folder once they are read), train, write ``ORGAN.safetensors``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", required=True, help="YAML of 'reshapeit train-restoration' that names the cases")
    parser.add_argument("--organ", required=True)
    parser.add_argument("--steps", type=int, default=DenoiserTraining.steps)
    parser.add_argument("--output", type=Path, required=True)
    told = parser.parse_args(arguments)
    torch.set_num_threads(1)
    organs, restoration = read_restoration_config(told.config)
    if told.organ not in organs:
        raise BadInputError(f"{told.config} has no organ '{told.organ}'; it has {', '.join(organs)}.")
    told.output.mkdir(parents=True, exist_ok=True)
    cases, _, hashes = training_cases({told.organ: organs[told.organ]}, told.output, Progress("none"))
    options = DenoiserTraining(steps=told.steps, draw=restoration.draw)
    network = train_denoiser(cases, options, told.output, Progress("bar" if sys.stderr.isatty() else "none"))
    info = DenoiserInfo(told.organ, hashes[told.organ], list(organs[told.organ].cases), asdict(options))
    target = told.output / f"{told.organ}.safetensors"
    Denoiser(info, network).save(target)
    print(f"wrote {target}")


if __name__ == "__main__":
    main()
