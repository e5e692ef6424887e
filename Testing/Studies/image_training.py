"""Train the image's network: of a fold of patients, without any intensity, or the one that is shipped.

    python -m Testing.Studies.image_training --work FOLDER --output Resources/Image/ct.safetensors

What shape alone makes of the real outputs is computed first (hours) and kept in FOLDER, as are the cells drawn from
each case; training itself takes minutes on one core. Nothing is trained on ``mr/``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from ReShapeITLib.image.features import GEOMETRIC, NAMES
from ReShapeITLib.image.files import CT
from ReShapeITLib.image.model import ImageModel, ImageModelInfo, numbers_beside

from .image_cases import (
    DAMAGES,
    FOLDS,
    ORGANS,
    OUTPUTS,
    PATIENTS,
    SIX_NETWORKS,
    TRUTH,
    Case,
    made_case,
    real_case,
    real_inputs,
)

GROUPS = {"liver": 0, "spleen": 1, "kidney_left": 2, "kidney_right": 2, "pancreas": 3}
CELLS, NEAR_MM, NEAR_SHARE = 3000, 4.0, 0.7
WIDTH, DEPTH, EPOCHS, BATCH, RATE = 64, 3, 8, 8192, 4e-3
NOISE, DROPPED = 0.2, 0.1
# What a case counts: real outputs are few, and truths must stay.
WEIGHT_REAL, WEIGHT_TRUTH = 2.0, 4.0
SHIPPED = numbers_beside(Path(__file__).resolve().parents[2] / "Resources" / "Image" / "ct.safetensors")
SOURCE = (
    'BTCV "Beyond the Cranial Vault" training labels and CTs (Synapse syn3193805) (CC BY 4.0); outputs of OBELISK-Net '
    "weights (MIT)"
)


def drawn_cells(folder: Path, cases: Iterable[tuple[str, Case | None]]) -> None:
    """Keep features and truth of some cells of each case that the folder lacks."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, case in cases:
        band = case.band(partial(_some_cells, case)) if case else None
        if case is None or band is None:
            continue
        truth = case.truth_mm[band.where].astype(np.float16)
        np.savez(folder / f"{name}.npz", x=band.features.astype(np.float16), t=truth)


def _some_cells(case: Case, where: np.ndarray) -> np.ndarray:
    """(K, J, I) bool: some of a band's cells, most of them near a surface."""
    rng, band = np.random.default_rng(1), np.flatnonzero(where)
    truth, shape = case.truth_mm.ravel()[band], case.shape_mm.ravel()[band]
    near = (np.abs(truth) < NEAR_MM) | (np.abs(shape) < NEAR_MM) | ((truth < 0) != (shape < 0))
    some = rng.permutation(np.flatnonzero(near))[: int(NEAR_SHARE * CELLS)]
    rest = rng.choice(len(band), min(len(band), CELLS - len(some)), replace=False)
    chosen = np.zeros(where.size, dtype=bool)
    chosen[band[some]] = chosen[band[rest]] = True
    return chosen.reshape(where.shape)


def training_cases(folder: Path, cells: Path, only_there: bool) -> Iterator[tuple[str, Case | None]]:
    """All cases whose cells are not there yet; the six other networks are for tests only."""
    for patient in PATIENTS:
        for organ in ORGANS:
            wanted = [(f"{DAMAGES[n]}{n}", n) for n in range(len(DAMAGES))]
            for name, number in wanted:
                if not (cells / f"{patient}__{organ}__{name}.npz").exists():
                    yield f"{patient}__{organ}__{name}", made_case(patient, organ, number)
            for of, network in real_inputs(organ):
                name = f"{patient}__{organ}__{network}"
                open_ = of == patient and network[:5] not in SIX_NETWORKS and not (cells / f"{name}.npz").exists()
                if open_ and (not only_there or (folder / f"{name}.npz").exists()):
                    yield name, real_case(folder, patient, organ, network)


def trained(cells: Path, patients: Sequence[str], features: Sequence[str] = NAMES, seed: int = 0) -> ImageModel:
    """A network trained on the cells of some patients; P(organ) at the surface counts by the part inside."""
    rows, inside, groups, weights = _loaded(cells, patients)
    rows = rows[:, [NAMES.index(name) for name in features]]
    mean = torch.from_numpy(rows.mean(axis=0, dtype=np.float32))
    deviation = torch.from_numpy(rows.astype(np.float32).std(axis=0) + 1e-3)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    widths = [len(features) + max(GROUPS.values()) + 1, *[WIDTH] * DEPTH, 1]
    network = torch.nn.ModuleList(torch.nn.Linear(a, b) for a, b in pairwise(widths))
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-3)
    steps = len(rows) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=EPOCHS * steps, pct_start=0.15)
    one_hot = torch.eye(max(GROUPS.values()) + 1)
    for epoch in range(EPOCHS):
        order, total = rng.permutation(len(rows)), 0.0
        for step in range(steps):
            batch = order[step * BATCH : (step + 1) * BATCH]
            x = (torch.from_numpy(rows[batch].astype(np.float32)) - mean) / deviation
            x = x + NOISE * torch.randn_like(x)
            x = torch.cat([x, one_hot[torch.from_numpy(groups[batch]).long()]], dim=1)
            for layer in network[:-1]:
                x = torch.nn.functional.dropout(torch.nn.functional.silu(layer(x)), DROPPED)
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                network[-1](x)[:, 0], torch.from_numpy(inside[batch]), torch.from_numpy(weights[batch])
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1} of {EPOCHS}: {len(rows)} cells, loss {total / steps:.4f}", flush=True)
    layers = tuple((layer.weight.detach(), layer.bias.detach()) for layer in network)
    training = {"cells": len(rows), "epochs": EPOCHS, "seed": seed, "damages": list(DAMAGES)}
    info = ImageModelInfo(CT, GROUPS, "CC-BY-4.0", SOURCE, list(patients), list(features), training)
    return ImageModel(info, layers, mean, deviation, SHIPPED)


def _loaded(cells: Path, patients: Sequence[str]) -> tuple[np.ndarray, ...]:
    rows, inside, groups, weights = [], [], [], []
    for file in sorted(cells.glob("*.npz")):
        patient, organ, network = file.stem.split("__")
        if patient in patients and network[:5] not in SIX_NETWORKS:
            kept = np.load(file)
            rows.append(kept["x"])
            inside.append(np.clip(0.5 - 0.5 * kept["t"].astype(np.float32), 0.0, 1.0))
            groups.append(np.full(len(kept["x"]), GROUPS[organ], np.int8))
            weight = WEIGHT_REAL if network in OUTPUTS else WEIGHT_TRUTH if network.startswith(TRUTH) else 1.0
            weights.append(np.full(len(kept["x"]), weight, np.float32))
    return tuple(np.concatenate(parts) for parts in (rows, inside, groups, weights))


def fold_model(work: Path, fold: int | None, blind: bool = False) -> Path:
    """File of the network that has not seen a fold (None: it has seen all), trained where it is not there."""
    path = work / "networks" / f"{'blind' if blind else 'ct'}_{'all' if fold is None else fold}.safetensors"
    if not path.exists():
        left_out = () if fold is None else FOLDS[fold]
        patients = [patient for patient in PATIENTS if patient not in left_out]
        path.parent.mkdir(parents=True, exist_ok=True)
        trained(work / "feat", patients, GEOMETRIC if blind else NAMES).write(path)
    return path


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of what is computed once")
    parser.add_argument("--output", type=Path, required=True, help="file of the network of all patients")
    parser.add_argument("--only-there", action="store_true", help="only outputs whose shape alone FOLDER has")
    arguments = parser.parse_args()
    cases, cells = arguments.work / "cases", arguments.work / "feat"
    cases.mkdir(parents=True, exist_ok=True)
    drawn_cells(cells, training_cases(cases, cells, arguments.only_there))
    for fold in range(len(FOLDS)):
        for blind in (False, True):
            fold_model(arguments.work, fold, blind)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_bytes(fold_model(arguments.work, None).read_bytes())


if __name__ == "__main__":
    main()
