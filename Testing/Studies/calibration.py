"""The calibration that is shipped: suggestions about patients that no network was trained on, judged by the truth.

    python -m Testing.Studies.calibration --output FOLDER
    python -m Testing.Studies.calibration --output FOLDER --write Resources/Restoration/calibration.json

Needs the development data beside the repository (``../shared/data``). Every organ as networks predicted it, with made
damage, cut by the border of the image, on coarse voxels, and as it is, once with the restoration network and once
without one. What an image adds is fitted to real outputs on CTs (OBELISK's and six other networks'), most of whose
patients the restoration network has seen; its own model is not touched by them. The suggestions about an input are a
line of ``judged.jsonl``, and a second start goes on there. Printed are the reliability of each witness on patients left
out, and what each choice of boldness wins.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import cache, lru_cache, partial
from pathlib import Path

import numpy as np

from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.damage.levels import coarse_input, damage_input, with_room
from ReShapeITLib.io.volumes import read_labels
from ReShapeITLib.refinement.decision.calibration import FILE_NAME, IMAGE, Calibration, calibration
from ReShapeITLib.restoration.model import NETWORK, WITNESSES, RestorationModel
from ReShapeITLib.restoration_training.calibrating import Judged, Reliability, calibrated
from ReShapeITLib.restoration_training.judging import judged_suggestions
from ReShapeITLib.templates.store import find_template
from ReShapeITLib.templates.template import OrganTemplate
from ReShapeITLib.training.prepare import thinned
from Testing.Studies.wrong_organs import DATA, LOBES, ORGANS

LEAST_SPACING_MM = 1.4
# Held out for settings, in neither training nor evaluation.
HELD_OUT = {
    "pancreas": ["t2_024", "t2_075", "t2_119", "t2_170", "t2_193", "t2_299", "t2_336", "t2_386", "t2_466", "t2_502"],
}
NETWORKS = ("2-DiceCE", "DiceCE", "Dice", "TopK10", "SS", "Lovasz")
# The other livers' patients are in the training of the network.
LIVERS = {f"t3_{a}": f"btcv_{b:04d}" for a, b in ((45, 2), (48, 5), (50, 7), (53, 10), (55, 22), (66, 33))}
_ROOM_MM = 20.0

Mask = tuple[np.ndarray, ImageGeometry]


def cases_of(organ: str) -> list[str]:
    """Cases of an organ that no network was trained on, every other one where there are many."""
    if organ == "liver":
        return list(LIVERS)
    split = json.loads((DATA / "splits.json").read_text())["lung_lobes" if organ in LOBES else organ]
    return split.get("val") or split["eval_with_predictions"][::2]


def inputs_of(organ: str, case: str) -> Iterator[tuple[str, Callable[[], tuple[Mask, Mask] | None]]]:
    """Name of every input of a case, and what makes it: given organ and truth; None of an empty prediction."""
    for name in NETWORKS:
        path = DATA / "predictions" / organ / case / f"{name}.nii.gz"
        if path.is_file():
            yield name, partial(_predicted, organ, case, path)
    for draw in range(2):
        yield f"damage {draw}", partial(_damaged, organ, case, draw)
    yield "clean", partial(_changed, organ, case, lambda truth, geometry: (truth, geometry))
    yield "voxels of 6 mm", partial(_changed, organ, case, lambda truth, grid: (coarse_input(truth, grid, 6.0), grid))
    yield "cut", partial(_changed, organ, case, partial(_cut, rng=np.random.default_rng(_seed(7, organ, case))))


def _predicted(organ: str, case: str, path: Path) -> tuple[Mask, Mask] | None:
    labels, label, geometry = _labels(organ, case)
    given, whole = read_labels(path).layers[0] != 0, labels == label if label else labels != 0
    if not given.any():
        return None
    both, geometry = with_room(given + 2 * whole.astype(np.uint8), given | whole, geometry, _ROOM_MM)
    return (both & 1 > 0, geometry), (both > 1, geometry)


def _changed(organ: str, case: str, change: Callable[..., Mask]) -> tuple[Mask, Mask]:
    truth, _, geometry = _truth(organ, case)
    return change(truth, geometry), (truth, geometry)


def _damaged(organ: str, case: str, draw: int) -> tuple[Mask, Mask]:
    truth, beside, geometry = _truth(organ, case)
    rng = np.random.default_rng(_seed(draw, organ, case))
    damaged = damage_input(truth, geometry, "combined", "middle", rng, [beside], organ)
    return (damaged, geometry), (truth, geometry)


def _seed(number: int, organ: str, case: str) -> list[int]:
    return [number, *case.encode(), *organ.encode()]


@lru_cache(maxsize=1)
def _labels(organ: str, case: str) -> tuple[np.ndarray, int, ImageGeometry]:
    """Labels of a case, which of them is the organ (0: all), and their geometry."""
    from Testing.Studies.evaluation.families import label_file

    volume = read_labels(label_file(DATA / ("lung_lobes" if organ in LOBES else organ), case))
    labels, label = volume.flattened(), LOBES.get(organ, 0)
    return (labels % 512 if label else labels), label, volume.geometry


@lru_cache(maxsize=1)
def _truth(organ: str, case: str) -> tuple[np.ndarray, np.ndarray, ImageGeometry]:
    """The organ with room around it, what lies beside it, and their geometry."""
    labels, label, geometry = _labels(organ, case)
    labels, geometry = with_room(labels, labels == label if label else labels != 0, geometry, _ROOM_MM)
    if label:
        labels, geometry = thinned(labels, geometry, LEAST_SPACING_MM)
    truth = labels == label if label else labels != 0
    return truth, (labels != 0) & ~truth, geometry


def inputs_on_ct() -> Iterator[tuple[str, str, str]]:
    """Organ, patient and network of every real output that has a CT; of OBELISK's one output an organ."""
    from Testing.Studies.image_cases import ORGANS as ON_CT
    from Testing.Studies.image_cases import real_inputs

    for organ in ON_CT:
        for patient, network in real_inputs(organ):
            if "fold" not in network and (organ == "kidney_right" or not network.endswith("visc5")):
                yield organ, patient, network


def judged_on_ct(organ: str, patient: str, network: str) -> list[Judged]:
    """Suggestions with the evidence of the patient's CT; none where truth or output has no such organ."""
    from Testing.Studies.image_cases import ct_of, files_of, labels

    output, label, truth_file, true_label = files_of(patient, network, organ)
    both = [(labels(file), which) for file, which in ((output, label), (truth_file, true_label))]
    if not all(which in volume.label_values() for volume, which in both):
        return []
    masks = [(volume.mask(which), volume.geometry) for volume, which in both]
    found = judged_suggestions(patient, *masks, *_models(organ), image=ct_of(patient))
    return [one for one in found if IMAGE in one.evidence]


def _cut(truth: np.ndarray, geometry: ImageGeometry, rng: np.random.Generator) -> Mask:
    """The organ in an image that ends within it, at its lower or upper end."""
    from Testing.Studies.evaluation.inputs import head_feet_axis

    axis_ijk = head_feet_axis(geometry)
    axis = 2 - axis_ijk
    used = np.flatnonzero(truth.any(axis=tuple(a for a in range(3) if a != axis)))
    lost = int(rng.uniform(0.15, 0.35) * len(used))
    start, stop = (0, used[-1] + 1 - lost) if rng.integers(2) else (used[0] + lost, truth.shape[axis])
    kept = [slice(None)] * 3
    kept[axis] = slice(start, stop)
    mask, first = truth[tuple(kept)], [0, 0, 0]
    first[axis_ijk] = int(start)
    return mask, geometry.cropped(first, mask.shape[::-1])


def collect(file: Path, organs: Sequence[str], witnesses: Sequence[str]) -> list[dict]:
    """All rows: witness, organ, case, input and the judged suggestions; what is in the file is not looked at again.

    The first case of every organ comes first, so that a part of the study has all organs.
    """
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    rows = [json.loads(line) for line in lines]
    done = {(row["witness"], row["organ"], row["case"], row["input"]) for row in rows}
    cases = {organ: cases_of(organ) for organ in organs}
    for rank in range(max(map(len, cases.values()))):
        for organ in (organ for organ in organs if rank < len(cases[organ])):
            case = cases[organ][rank]
            for name, made in inputs_of(organ, case):
                left = [w for w in witnesses if w != IMAGE and (w, organ, case, name) not in done]
                both = made() if left else None
                for witness in left if both else ():
                    template, model = _models(organ)
                    patient, asked = LIVERS.get(case, case), model if witness == NETWORK else None
                    found = judged_suggestions(patient, *both, template, asked)
                    rows.append(_kept(file, (witness, organ, case, name), found))
    for organ, patient, network in inputs_on_ct() if IMAGE in witnesses else ():
        key = (IMAGE, organ, patient, network)
        if organ in organs and key not in done:
            rows.append(_kept(file, key, judged_on_ct(organ, patient, network)))
    return rows


def _kept(file: Path, key: tuple[str, str, str, str], found: list[Judged]) -> dict:
    row = dict(zip(("witness", "organ", "case", "input"), key, strict=True))
    with open(file, "a", encoding="utf-8") as stream:
        stream.write(json.dumps(row | {"judged": [asdict(one) for one in found]}) + "\n")
    print(*key, len(found), flush=True)
    return row | {"judged": [asdict(one) for one in found]}


@cache
def _models(organ: str):
    path = find_template(organ)
    return OrganTemplate.load(path), RestorationModel.for_template(path)


def table(rows: list[dict], found: Reliability, boldness: dict[str, float]) -> str:
    """Reliability, and for each organ what each boldness wins and what decisions with the truth in hand would."""
    measured = (found.log_loss, *found.log_loss_by.values(), found.brier)
    less = "".join(f" by {name} |" for name in found.log_loss_by)
    lines = [
        f"| log loss |{less} Brier score | expected calibration error |",
        "|---" * (3 + len(found.log_loss_by)) + "|",
        "| " + " | ".join(f"{value:.3f}" for value in measured) + f" | {found.calibration_error:.1%} |",
        "",
        "| organ | suggestions | " + " | ".join(f"{name}: won, falsely taken" for name in boldness) + " | best |",
        "|---" * (3 + len(boldness)) + "|",
    ]
    judged = [(row["organ"], Judged(**one)) for row in rows for one in row["judged"]]
    everything = {"all": found.probabilities} | {f"all, by {k}": v for k, v in found.probabilities_by.items()}
    for name, probabilities in (dict.fromkeys(ORGANS, found.probabilities) | everything).items():
        chosen = [
            (one, p) for (organ, one), p in zip(judged, probabilities, strict=True) if name == organ or "all" in name
        ]
        if not chosen:
            continue
        cells = []
        for least in boldness.values():
            won = [one.won_cells for one, p in chosen if p > least]
            cells.append(f"{sum(won):.0f}, {-sum(w for w in won if w < 0):.0f}")
        best = sum(max(one.won_cells, 0.0) for one, _ in chosen)
        lines.append(f"| {name} | {len(chosen)} | " + " | ".join(cells) + f" | {best:.0f} |")
    return "\n".join(lines)


def calibrations_without_each(
    judged: dict[str, list[Judged]], known: Calibration, beside_image: Sequence[Judged] = ()
) -> dict[str, Calibration]:
    """The calibration that all other patients' suggestions give, by patient; witnesses not judged stay as known."""
    patients = {one.patient for rows in (*judged.values(), beside_image) for one in rows}
    without = {}
    for patient in patients:
        others = {name: [one for one in rows if one.patient != patient] for name, rows in judged.items()}
        on_ct = [one for one in beside_image if one.patient != patient]
        without[patient] = calibrated(others, known, on_ct)[0]
    return without


def main() -> None:
    """Command line."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--organs", nargs="*", choices=ORGANS, help="these alone, for several processes at once")
    parser.add_argument(
        "--witnesses", nargs="*", choices=(*WITNESSES, IMAGE), default=(*WITNESSES, IMAGE), help="these alone"
    )
    parser.add_argument("--write", type=Path, help="calibration file to write")
    parser.add_argument("--left-out", type=Path, help="folder for a calibration without each patient, for studies")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.output.mkdir(parents=True, exist_ok=True)
    rows = collect(arguments.output / "judged.jsonl", arguments.organs or ORGANS, arguments.witnesses)
    by_witness = {name: [row for row in rows if row["witness"] == name] for name in arguments.witnesses}
    judged = {name: [Judged(**one) for row in own for one in row["judged"]] for name, own in by_witness.items()}
    on_ct = judged.pop(IMAGE, [])
    model, found = calibrated(judged, calibration(), on_ct)
    for name, own in by_witness.items():
        print(f"\n{name}, {len(own)} inputs\n\n{table(own, found[name], dict(model.boldness))}")
    if arguments.write:
        model.write(arguments.write)
    if arguments.left_out:
        for patient, without in sorted(calibrations_without_each(judged, model, on_ct).items()):
            (arguments.left_out / patient).mkdir(parents=True, exist_ok=True)
            without.write(arguments.left_out / patient / FILE_NAME)


if __name__ == "__main__":
    main()
