"""Choose what the evidence must reach, over patients that the networks have not seen.

    python -m Testing.Studies.image_numbers --work FOLDER --output Resources/Image/numbers.json

Every setting is tried on all real outputs, truths and made damage that FOLDER has. Of the settings that leave truths as
good as whole and harm few inputs, the one with the best mean Dice is taken, one for all organs.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np

from ReShapeITLib.image.decision import ImageNumbers, moved_surface
from ReShapeITLib.image.model import image_model

from .image_cases import DAMAGES, FOLDS, ORGANS, PATIENTS, SIX_NETWORKS, TRUTH, Case, made_case, real_case, real_inputs
from .image_training import SHIPPED, fold_model

LEAST_TRUTH_MEAN, LEAST_TRUTH, MOST_HARMED, DICE_LOSS = 0.995, 0.985, 0.05, 0.005
SHIFTS_MM = ((0.9, 1.6), (1.2, 2.0))
WHOLES_MM = ((0.5, 0.9), (0.6, 1.0), (0.7, 1.1), (0.9, 1.3), (1.1, 1.5), (1.4, 1.9))


@dataclass(frozen=True, eq=False)
class Told:
    """What the network says of a case.

    Args:
        case: the organ.
        probability, where: (K, J, I) of the band.
    """

    case: Case
    probability: np.ndarray
    where: np.ndarray


def told_cases(work: Path, organ: str) -> Iterator[Told]:
    """All cases of an organ that the folder has, asked with the network of their fold."""
    for patient in PATIENTS:
        fold = next(index for index, patients in enumerate(FOLDS) if patient in patients)
        model = image_model(fold_model(work, fold), SHIPPED)
        made = [number for number, kind in enumerate(DAMAGES) if kind in (TRUTH, "mixed")]
        cases = [made_case(patient, organ, number) for number in made]
        for of, network in real_inputs(organ):
            there = (work / "cases" / f"{patient}__{organ}__{network}.npz").exists()
            if of == patient and there and network[:5] not in SIX_NETWORKS:
                cases.append(real_case(work / "cases", patient, organ, network))
        for case in cases:
            band = case.band() if case else None
            if case and band:
                probability = np.zeros(case.grid.shape_kji, dtype=np.float32)
                probability[band.where] = model.probability(band.features, organ)
                yield Told(case, probability, band.where)


def settings() -> Iterator[ImageNumbers]:
    """All that are tried."""
    for shift, whole in product(SHIFTS_MM, WHOLES_MM):
        yield replace(SHIPPED, shift_mm=shift, whole_mm=whole)


def dice_of(told: Told, numbers: ImageNumbers) -> tuple[float, float]:
    """Dice on the working grid by shape alone, and with the image."""
    truth, shape_mm = told.case.truth_mm < 0, told.case.shape_mm
    change = moved_surface(told.probability, told.where, shape_mm, numbers).correction_mm
    after = shape_mm if change is None else shape_mm + change
    sizes = (2.0 * np.count_nonzero(truth & (d < 0)) / (truth.sum() + (d < 0).sum()) for d in (shape_mm, after))
    before, now = sizes
    return float(before), float(now)


def chosen(told: list[Told]) -> tuple[ImageNumbers, dict[str, float]]:
    """The best setting, and how it does; where none keeps truths, the one that keeps them best."""
    is_truth = np.array([one.case.given == TRUTH for one in told])
    best: tuple[tuple[float, float], ImageNumbers, dict[str, float]] | None = None
    for numbers in settings():
        before, now = np.array([dice_of(one, numbers) for one in told]).T
        harmed = float((now < before - DICE_LOSS)[~is_truth].mean())
        lost = max(0.0, LEAST_TRUTH_MEAN - now[is_truth].mean()) + max(0.0, LEAST_TRUTH - now[is_truth].min())
        lost += max(0.0, harmed - MOST_HARMED)
        gain = float((now - before)[~is_truth].mean())
        score = (-round(lost, 4), gain)
        if best is None or score > best[0]:
            result = {"truth": now[is_truth].mean(), "lowest truth": now[is_truth].min(), "harmed": harmed}
            best = score, numbers, {**result, "shape": before[~is_truth].mean(), "ct": now[~is_truth].mean()}
    if best is None:
        raise SystemExit("There are no settings to choose from.")
    return best[1:]


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of what is computed once")
    parser.add_argument("--output", type=Path, required=True, help="JSON file of the chosen numbers")
    arguments = parser.parse_args()
    numbers, result = chosen([told for organ in ORGANS for told in told_cases(arguments.work, organ)])
    print({name: round(float(value), 4) for name, value in result.items()}, flush=True)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps({"ct": asdict(numbers)}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
