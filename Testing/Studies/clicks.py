"""How many clicks an organ takes: a scripted user on real outputs of a network, with the CT.

    python -m Testing.Studies.clicks --output FOLDER [--cases 20]

The user clicks the middle of the largest connected error until Dice is 98 %, nothing is gained any more, or 15 clicks
are made. Beside it: suggestions alone, each taken or left as the truth says, and a ball of 10 mm painted or erased at
the same kind of place. All start from what refinement made with the image. A case that is done is not done again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy import ndimage

from ReShapeITLib.core.errors import ReShapeITError
from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.core.labels import LabelVolume
from ReShapeITLib.image.reading import read_image
from ReShapeITLib.io.volumes import read_labels
from ReShapeITLib.job.face import refine
from ReShapeITLib.refinement.clicks.points import edited
from ReShapeITLib.refinement.clicks.redecided import Edit, prepared, redecided

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "ct"
ORGANS = {"spleen": 1, "kidney_left": 3, "liver": 5, "pancreas": 8}
PREDICTION = "obelisk_ens4"
TARGET, MOST_CLICKS, LEAST_GAIN, PATIENCE = 0.98, 15, 2e-4, 3
BALL_MM, ROOM_MM, MOST_VOXELS = 10.0, 15.0, 500_000


def cases(count: int) -> list[tuple[str, str]]:
    """Patient and organ: two organs of each patient, in turn."""
    pairs = list(ORGANS)
    patients = sorted(path.name for path in DATA.glob("btcv_*"))
    every = [(p, pairs[(2 * (n % 2) + k) % 4]) for n, p in enumerate(patients) for k in range(2)]
    return every[:count]


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Of two (K, J, I) bool masks."""
    return 2.0 * np.count_nonzero(a & b) / max(1, np.count_nonzero(a) + np.count_nonzero(b))


def next_click(mask: np.ndarray, truth: np.ndarray, geometry: ImageGeometry) -> tuple[np.ndarray, bool] | None:
    """Middle (RAS mm) of the largest error, and whether organ is missing there; None where all is right."""
    best = None
    for wrong, missing in ((truth & ~mask, True), (mask & ~truth, False)):
        pieces, _ = ndimage.label(wrong)
        sizes = np.bincount(pieces.ravel())[1:]
        if len(sizes) and (best is None or sizes.max() > best[0]):
            best = int(sizes.max()), pieces == 1 + int(sizes.argmax()), missing
    if best is None:
        return None
    _, piece, missing = best
    (box,) = ndimage.find_objects(piece.astype(np.uint8))
    # Every second voxel of a large slice does: what matters is where the error is thick.
    step = np.array([1, 1, 1]) if piece[box].size < MOST_VOXELS else np.array([1, 2, 2])
    part = piece[box][:: step[0], :: step[1], :: step[2]]
    part, step = (part, step) if part.any() else (piece[box], np.array([1, 1, 1]))
    deep = ndimage.distance_transform_edt(np.pad(part, 1), sampling=geometry.spacing_mm[::-1] * step)
    cell = (np.array(np.unravel_index(deep.argmax(), deep.shape)) - 1) * step + [s.start for s in box]
    return geometry.ijk_to_ras_points(cell[None, ::-1])[0], missing


def clicked_until_right(
    mask: np.ndarray,
    truth: np.ndarray,
    geometry: ImageGeometry,
    click: Callable[[np.ndarray, np.ndarray, bool], np.ndarray],
) -> dict:
    """Dice after each click, and the seconds of each.

    Args:
        click: from mask, point and whether it belongs to the next mask.
    """
    course, seconds, refused = [dice(mask, truth)], [], 0
    while len(course) <= MOST_CLICKS and course[-1] < TARGET:
        at = next_click(mask, truth, geometry)
        if at is None:
            break
        started = time.perf_counter()
        try:
            mask = click(mask, *at)
        except ReShapeITError:
            refused += 1
        seconds.append(time.perf_counter() - started)
        course.append(dice(mask, truth))
        if len(course) > PATIENCE and max(course[-PATIENCE:]) < max(course[:-PATIENCE]) + LEAST_GAIN:
            break
    best = int(np.argmax(course))
    return {"course": course, "clicks": best, "dice": course[best], "seconds": seconds, "refused": refused}


def by_clicks(shape, mask: np.ndarray, truth: np.ndarray, geometry: ImageGeometry, image) -> dict:
    """The user's clicks on an organ."""
    state = {"shape": shape}

    def click(mask: np.ndarray, point: np.ndarray, missing: bool) -> np.ndarray:
        points = [tuple(point)]
        edit = edited(Edit(state["shape"]), points if missing else [], [] if missing else points, image)
        state["shape"] = edit.shape
        return edit.mask(mask, geometry)

    return clicked_until_right(mask, truth, geometry, click)


def by_balls(mask: np.ndarray, truth: np.ndarray, geometry: ImageGeometry) -> dict:
    """Balls painted and erased."""

    def click(mask: np.ndarray, point: np.ndarray, missing: bool) -> np.ndarray:
        box = geometry.box_around((point - BALL_MM, point + BALL_MM))
        kji = np.moveaxis(np.mgrid[box], 0, -1)
        centres = geometry.ijk_to_ras_points(kji.reshape(-1, 3)[:, ::-1])
        ball = (np.linalg.norm(centres - point, axis=1) <= BALL_MM).reshape(kji.shape[:-1])
        mask = mask.copy()
        mask[box] = mask[box] | ball if missing else mask[box] & ~ball
        return mask

    return clicked_until_right(mask, truth, geometry, click)


def by_suggestions(shape, mask: np.ndarray, truth: np.ndarray, geometry: ImageGeometry) -> dict:
    """Each suggestion taken or left as the truth says; how many the user had to change."""
    edit, decisions = Edit(shape), 0
    for entry in shape.suggestions.entries if shape.suggestions else ():
        other = redecided(edit, edit.shape.taken ^ {entry.number})
        changed = other.mask(mask, geometry)
        if dice(changed, truth) > dice(mask, truth):
            edit, mask, decisions = other, changed, decisions + 1
    return {"clicks": decisions, "dice": dice(mask, truth)}


def one_case(patient: str, organ: str, preset: str) -> dict:
    """All ways for one organ."""
    folder = DATA / patient
    given, truth = (read_labels(folder / f"{name}.nii.gz") for name in (PREDICTION, "truth"))
    part, truth = _around(given, truth, ORGANS[organ])
    image = read_image(folder / "ct.nii.gz")
    started = time.perf_counter()
    shape = refine(part.mask(1), part.geometry, organ, preset=preset, force=True, image=image, notice=lambda text: None)
    geometry = part.geometry
    refined = shape.mask(geometry)
    told: dict = {"patient": patient, "organ": organ, "seconds": time.perf_counter() - started}
    told |= {"given": dice(part.mask(1), truth), "refined": dice(refined, truth)}
    shape = prepared(shape)
    told["suggestions"] = by_suggestions(shape, refined, truth, geometry)
    told["clicks"] = by_clicks(shape, refined, truth, geometry, image)
    told["balls"] = by_balls(refined, truth, geometry)
    return told


def _around(given: LabelVolume, truth: LabelVolume, label: int) -> tuple[LabelVolume, np.ndarray]:
    """Prediction, as label 1, and (K, J, I) truth, on the part of the grid around both."""
    masks = [volume.mask(label) for volume in (given, truth)]
    (box,) = ndimage.find_objects((masks[0] | masks[1]).astype(np.uint8))
    room = np.ceil(ROOM_MM / given.geometry.spacing_mm[::-1]).astype(int)
    sizes = zip(box, room, given.geometry.shape_kji, strict=True)
    k, j, i = (slice(max(0, s.start - r), min(n, s.stop + r)) for s, r, n in sizes)
    part = LabelVolume.from_array(masks[0].astype(np.uint8), given.geometry).cropped((k, j, i))
    return part, masks[1][k, j, i]


def table(rows: list[dict]) -> str:
    """Medians over the cases, in Markdown."""
    ways = {"suggestions": "suggestions alone", "clicks": "clicks"}
    ways |= {"balls": f"balls of {BALL_MM:g} mm"}
    lines = [
        "| way | clicks, median (quartiles) | Dice %, median | Dice %, mean | 98 % reached |",
        "|---|---|---|---|---|",
    ]
    for name in ("given", "refined"):
        values = 100.0 * np.array([row[name] for row in rows])
        lines.append(f"| {name} | - | {np.median(values):.1f} | {values.mean():.1f} | {(values >= 98).sum()} |")
    for way, words in ways.items():
        counts = np.array([row[way]["clicks"] for row in rows])
        values = 100.0 * np.array([row[way]["dice"] for row in rows])
        low, middle, high = np.percentile(counts, (25, 50, 75))
        lines.append(
            f"| {words} | {middle:g} ({low:g} to {high:g}) | {np.median(values):.1f} | {values.mean():.1f} "
            f"| {(values >= 98).sum()} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run the cases that are not done, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--cases", type=int, default=20)
    parser.add_argument("--preset", default="draft")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    rows = []
    for patient, organ in cases(arguments.cases):
        path = arguments.output / f"{patient}_{organ}.json"
        if not path.is_file():
            path.write_text(json.dumps(one_case(patient, organ, arguments.preset), indent=1), encoding="utf-8")
        rows.append(json.loads(path.read_text(encoding="utf-8")))
    print(table(rows))


if __name__ == "__main__":
    main()
