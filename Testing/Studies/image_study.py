"""What a CT adds to shape alone, by networks that have not seen the patient.

    python -m Testing.Studies.image_study rows --work FOLDER     # resumes; hours, most of them for shape alone
    python -m Testing.Studies.image_study table --work FOLDER    # the tables, as Markdown

Inputs: every OBELISK output of the fourteen patients of ``../shared/data/ct``, the six other networks' livers of two of
them, all truths, and made damage of right kidneys. Methods: the given organ, shape alone, with the CT, and with a
network that has learnt the same but sees no intensity: what that one gains is the bias of the networks, not the image.
MR: whether the image is left out. Dice, NSD at 2 mm (exact, by surfels) and HD95 are measured on the
truth's grid; with ``--rivals`` all six metrics of the paper's Tables 5 and 6, and what users have without a learnt
shape: the largest component, the Segment Editor's median filter, and the three of ``image_rivals``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy import ndimage

from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.core.mesh import TriangleSurface
from ReShapeITLib.distance.surface import signed_distance_grid, surface_from_mask
from ReShapeITLib.image.decision import Moved, moved_surface
from ReShapeITLib.image.features import Band
from ReShapeITLib.image.files import CT, available_image_model
from ReShapeITLib.image.model import ImageModel, image_model, numbers_beside
from ReShapeITLib.image.reading import read_image
from ReShapeITLib.image.witness import agreed_with_image
from ReShapeITLib.metrics import evaluate
from ReShapeITLib.metrics.masks import compare_masks

from .evaluation.rivals_filters import largest_piece, median_smoothed
from .image_cases import (
    DAMAGES,
    DATA,
    FOLDS,
    ORGANS,
    OUTPUTS,
    PATIENTS,
    TRUTH,
    Case,
    files_of,
    labels,
    made_case,
    real_case,
    real_inputs,
)
from .image_rivals import BY_IMAGE, by_image
from .image_training import fold_model

TOLERANCE_MM = 2.0
METHODS = ("given", "largest", "median", *BY_IMAGE, "shape", "ct", "blind")
MEASURES = ("dsc", "nsd", "hd95_mm")
# Of the paper's tables: factor and digits; CD and EMD of a whole liver take long.
OF_TABLES = ("given", "ct")
SIX = {"cd": (100, 3), "emd": (1, 3), "dsc": (100, 1), "nsd": (100, 1), "hd95_mm": (1, 1), "assd_mm": (1, 2)}
KINDS = {"ens4": "obelisk_ens4", "folds": "obelisk_fold", "visc5": "obelisk_visc5", "six networks": "t3_"}
KINDS |= {"made damage": "made", "truth": TRUTH}
MR_ORGANS = {"liver": 1, "kidney_right": 2, "kidney_left": 3, "spleen": 4}
# Harmed: Dice lower by more than half a point, or HD95 larger by a twentieth and half a millimetre.
_DICE_LOSS, _HD_FACTOR, _HD_MM = 0.5, 1.05, 0.5


@dataclass(frozen=True)
class How:
    """What is measured, and where it is kept.

    Args:
        work: folder of what is computed once, and of the rows.
        blind: also by networks that see no intensity.
        rivals: also by methods without a learnt shape; six metrics.
        calibrations: folder of calibrations each without a patient; None decides by the shipped one.
    """

    work: Path
    blind: bool = False
    rivals: bool = False
    calibrations: Path | None = None


@lru_cache(maxsize=10)
def model_for(work: Path, patient: str, blind: bool) -> ImageModel:
    """The network whose training lacks the patient, with the shipped numbers."""
    fold = next(index for index, patients in enumerate(FOLDS) if patient in patients)
    file = available_image_model(CT)
    if file is None:
        raise SystemExit("There is no image network yet: run image_training and image_numbers.")
    return image_model(fold_model(work, fold, blind), numbers_beside(file))


def moved(case: Case, band: Band, work: Path, blind: bool = False) -> Moved:
    """What a network makes of the features of a case."""
    model = model_for(work, case.patient, blind)
    probability = np.zeros(case.grid.shape_kji, dtype=np.float32)
    probability[band.where] = model.probability(band.features, case.organ)
    return moved_surface(probability, band.where, case.shape_mm, model.numbers)


def voxels(case: Case, change: Moved | None, own: np.ndarray, grid: ImageGeometry) -> np.ndarray:
    """(K, J, I) bool of the truth's grid: the shape's own but where the image moved something."""
    if change is None or change.correction_mm is None:
        return own
    to_cells = case.grid.ras_to_ijk @ grid.ijk_to_ras
    place = to_cells[:3, :3][::-1, ::-1], to_cells[:3, 3][::-1], grid.shape_kji
    touched = ndimage.affine_transform((change.correction_mm != 0).astype(np.float32), *place, order=1) > 0
    after = ndimage.affine_transform(case.shape_mm + change.correction_mm, *place, order=1, cval=99.0) < 0
    return np.where(touched, after, own)


def row_of(
    case: Case, given: np.ndarray, truth: np.ndarray, grid: ImageGeometry, how: How, beside_ct: Case | None = None
) -> dict:
    """Measures of all methods on one input.

    Args:
        case: the input and what shape alone makes of it.
        beside_ct: the same with the CT's say on suggestions; None where there are none.
    """
    own, work, rivals = given if case.shape_mask is None else case.shape_mask, how.work, how.rivals
    decided = beside_ct or case
    chosen = own if decided.shape_mask is None else decided.shape_mask
    band, about = decided.band(), {"patient": case.patient, "organ": case.organ, "given": case.given}
    masks, said = {"given": given, "shape": own, "ct": chosen}, {}
    if band is not None:
        change = moved(decided, band, work)
        masks["ct"] = voxels(decided, change, chosen, grid)
        if how.blind:
            masks["blind"] = voxels(decided, moved(decided, band, work, blind=True), chosen, grid)
        said = {"inside": change.inside, "share": change.moved_share, "separability": band.separability}
    if rivals:
        masks |= {"largest": largest_piece(given, grid), "median": median_smoothed(given, grid)}
        masks |= {name: _on(np.where(by_image(case, name), -1.0, 1.0), case.grid, grid) for name in BY_IMAGE}
    told: dict[int, dict] = {}
    surface = surface_from_mask(truth, grid) if rivals and case.given != TRUTH else None
    in_tables = {id(masks[name]) for name in OF_TABLES}
    for mask in masks.values():
        if id(mask) not in told:
            whole = surface if id(mask) in in_tables else None
            told[id(mask)] = _measures(truth, mask, grid, case.given == TRUTH, whole)
    return {**about, **said, **{f"{m}_{k}": value for m, mask in masks.items() for k, value in told[id(mask)].items()}}


def _measures(
    truth: np.ndarray, mask: np.ndarray, grid: ImageGeometry, dice_only: bool, surface: TriangleSurface | None
) -> dict:
    """Of a truth that was given the Dice says all; all six metrics where there is the truth's surface."""
    if dice_only:
        both = np.count_nonzero(truth & mask)
        return {"dsc": 2.0 * both / (np.count_nonzero(truth) + np.count_nonzero(mask)), "nsd": None, "hd95_mm": None}
    if surface:
        told = evaluate(truth, mask, grid, surface, nsd_tolerance_mm=TOLERANCE_MM).to_json()
        return {name: told[name] for name in SIX}
    return asdict(compare_masks(truth, mask, grid, TOLERANCE_MM))


def inputs(organs: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Patient, organ and given of every row."""
    for organ in organs:
        yield from ((patient, organ, network) for patient, network in real_inputs(organ))
    for organ in organs:
        for patient in PATIENTS:
            yield patient, organ, TRUTH
            if organ == "kidney_right":
                yield from ((patient, organ, f"made{n}") for n, kind in enumerate(DAMAGES) if kind == "mixed")


def measured(how: How, patient: str, organ: str, given: str) -> dict | None:
    """The row of one input; None where there is no such organ."""
    truth_volume = labels(DATA / "ct" / patient / "truth.nii.gz")
    if given == TRUTH or given.startswith("made"):
        case = made_case(patient, organ, 0 if given == TRUTH else int(given[4:]))
        if case is None:
            return None
        truth, grid = truth_volume.mask(ORGANS[organ]), truth_volume.geometry
        nothing = replace(case, given=given)
        start = truth if given == TRUTH else _on(case.given_mm, case.grid, grid)
        nothing = replace(nothing, shape_mask=truth if given == TRUTH else _on(case.shape_mm, case.grid, grid))
        return row_of(nothing, start, truth, grid, how)
    cases = how.work / "cases"
    case = real_case(cases, patient, organ, given, calibrations=how.calibrations)
    if case is None:
        return None
    beside_ct = real_case(cases, patient, organ, given, beside_ct=True, calibrations=how.calibrations)
    output, label, truth_file, truth_label = files_of(patient, given, organ)
    truth = labels(truth_file).mask(truth_label)
    return row_of(case, labels(output).mask(label), truth, labels(truth_file).geometry, how, beside_ct)


def _on(distance_mm: np.ndarray, cells: ImageGeometry, grid: ImageGeometry) -> np.ndarray:
    to_cells = cells.ras_to_ijk @ grid.ijk_to_ras
    place = to_cells[:3, :3][::-1, ::-1], to_cells[:3, 3][::-1], grid.shape_kji
    return ndimage.affine_transform(distance_mm, *place, order=1, cval=99.0) < 0


def mr_rows() -> Iterator[dict]:
    """What is said of the MR of each patient, with its truth as organ."""
    for folder in sorted((DATA / "mr").glob("chaos_*")):
        image, volume = read_image(folder / "t2.nii.gz"), labels(folder / "truth.nii.gz")
        for organ, label in MR_ORGANS.items():
            if volume.mask(label).any():
                shape = signed_distance_grid(volume.mask(label), volume.geometry)
                agreed = agreed_with_image(shape, shape, shape.bounds_ras, image, organ)
                yield {"patient": folder.name, "organ": organ, "given": "mr", "status": agreed.said.status}


def rows(how: How, organs: Sequence[str], outputs: Sequence[str]) -> None:
    """Measure what is not measured yet."""
    path = how.work / "rows.jsonl"
    done = {tuple(row[k] for k in ("patient", "organ", "given")) for row in read_rows(path)}
    with open(path, "a", encoding="utf-8") as file:
        if not any(given == "mr" for *_, given in done):
            file.writelines(json.dumps(row) + "\n" for row in mr_rows())
        wanted = (key for key in inputs(organs) if not key[2].startswith("obelisk") or key[2] in outputs)
        for key in sorted(wanted):  # whatever is of one patient and organ is read once
            row = None if key in done else measured(how, *key)
            if row:
                file.write(json.dumps(row) + "\n")
                file.flush()


def read_rows(path: Path) -> list[dict]:
    """All rows of a file; none where it is absent."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def harmed(row: dict, method: str, before: str) -> bool:
    """Whether a method made an input worse."""
    lower = row[f"{method}_dsc"] < row[f"{before}_dsc"] - _DICE_LOSS / 100.0
    if row[f"{method}_hd95_mm"] is None:
        return lower
    return lower or row[f"{method}_hd95_mm"] > _HD_FACTOR * row[f"{before}_hd95_mm"] + _HD_MM


def table(found: list[dict]) -> str:
    """Means by organ and kind of input."""
    lines = ["| organ | input | method | Dice | NSD 2 mm | HD95 | harmed vs given | vs shape | lowest Dice |"]
    lines.append("|---|---|---|---|---|---|---|---|---|")
    for organ in ORGANS:
        for kind, start in KINDS.items():
            of = [row for row in found if row["organ"] == organ and row["given"].startswith(start)]
            lines += [
                _line(of, organ, f"{kind}, {len(of)}", method) for method in METHODS if of and f"{method}_dsc" in of[0]
            ]
    for patient in ("btcv_0028", "btcv_0023"):
        for row in found:
            if row["patient"] == patient and row["given"] == "obelisk_ens4":
                lines += [_line([row], row["organ"], f"{patient}, ens4", method) for method in ("given", "shape", "ct")]
    mr = [row for row in found if row["given"] == "mr"]
    lines.append(f"\nMR left out: {sum(row['status'] == 'modality' for row in mr)} of {len(mr)} organs.")
    return "\n".join(lines)


def _line(of: list[dict], organ: str, kind: str, method: str) -> str:
    dice, nsd, hd95 = (
        _mean(of, f"{method}_{name}", scale) for name, scale in zip(MEASURES, (100, 100, 1), strict=True)
    )
    harm = [f"{100.0 * np.mean([harmed(row, method, before) for row in of]):.0f} %" for before in ("given", "shape")]
    lowest = 100.0 * min(row[f"{method}_dsc"] for row in of)
    return f"| {organ} | {kind} | {method} | {dice} | {nsd} | {hd95} | {' | '.join(harm)} | {lowest:.1f} |"


def papers_table(found: list[dict]) -> str:
    """The six metrics as the paper's Tables 5 and 6 give them: mean ± standard deviation, and median."""
    lines = ["| organ | input | method | " + " | ".join(SIX) + " |", "|---" * (3 + len(SIX)) + "|"]
    for organ in ORGANS:
        for kind, start in KINDS.items():
            of = [
                row for row in found if row["organ"] == organ and row["given"].startswith(start) and "given_cd" in row
            ]
            for method in OF_TABLES if of else ():
                cells = " | ".join(_spread(of, f"{method}_{name}", *form) for name, form in SIX.items())
                lines.append(f"| {organ} | {kind}, {len(of)} | {method} | {cells} |")
    return "\n".join(lines)


def _spread(of: list[dict], name: str, scale: float, digits: int) -> str:
    """Of the inputs that have a finite value; an organ that is lost has no distance, and is told."""
    values = scale * np.array([row[name] for row in of if row[name] is not None])
    lost = f" ({len(of) - len(values)} lost)" if len(values) < len(of) else ""
    return f"{values.mean():.{digits}f} ± {values.std():.{digits}f}, {np.median(values):.{digits}f}{lost}"


def _mean(of: list[dict], name: str, scale: float) -> str:
    values = [row[name] for row in of]
    return "-" if None in values else f"{scale * np.mean(values):.2f}"


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("rows", "table"))
    parser.add_argument("--work", type=Path, required=True, help="folder of what is computed once, and of the rows")
    parser.add_argument("--organs", nargs="+", default=list(ORGANS), choices=ORGANS, help="whose rows to measure")
    parser.add_argument("--blind", action="store_true", help="also by networks that see no intensity")
    parser.add_argument("--outputs", nargs="+", default=OUTPUTS, choices=OUTPUTS, help="of OBELISK, these alone")
    parser.add_argument("--rivals", action="store_true", help="also by methods without a learnt shape; six metrics")
    parser.add_argument("--calibrations", type=Path, help="each without a patient, as calibration --left-out writes")
    arguments = parser.parse_args()
    if arguments.command == "rows":
        how = How(arguments.work, arguments.blind, arguments.rivals, arguments.calibrations)
        rows(how, arguments.organs, arguments.outputs)
    found = read_rows(arguments.work / "rows.jsonl")
    print(table(found), papers_table(found), sep="\n\n")


if __name__ == "__main__":
    main()
