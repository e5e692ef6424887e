"""Is the wrong organ noticed? Organs that no template has learnt from against every template.

    python -m Testing.Studies.wrong_organs --cases 3 --output FOLDER

Needs the development data beside the repository (``../shared/data``). ``rows.jsonl`` keeps what the plausibility check
looks at, pair by pair, and a second start goes on there; printed are the share of wrong organs that were noticed and of
right ones that were held up.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
LOBES = {
    "lung_upper_lobe_right": 4,
    "lung_middle_lobe_right": 5,
    "lung_lower_lobe_right": 6,
    "lung_upper_lobe_left": 7,
    "lung_lower_lobe_left": 8,
}
LEAST_SPACING_MM = 2.0
ORGANS = ("liver", "pancreas", "spleen", "kidney_left", "kidney_right", *LOBES)


def unseen_cases(organ: str) -> list[str]:
    """Names of the cases of an organ that are in no training."""
    split = json.loads((DATA / "splits.json").read_text())["lung_lobes" if organ in LOBES else organ]
    return split.get("val") or split["eval_with_predictions"]


def organ_mask(organ: str, case: str):
    """(K, J, I) bool mask of a case's organ, cropped, and its geometry."""
    from ReShapeITLib.damage.levels import with_room
    from ReShapeITLib.io.volumes import read_labels
    from Testing.Studies.evaluation.families import label_file

    volume = read_labels(label_file(DATA / ("lung_lobes" if organ in LOBES else organ), case))
    labels = volume.flattened()
    mask = labels % 512 == LOBES[organ] if organ in LOBES else labels != 0
    return with_room(mask, mask, volume.geometry, 40.0)


def right_inputs(organ: str, case: str, mask: np.ndarray, geometry):
    """Segmentations of the right organ as they come: twice damaged, and what networks made where there is some.

    Yields:
        name, (K, J, I) bool mask and geometry.
    """
    from ReShapeITLib.damage.levels import damage_input
    from ReShapeITLib.io.volumes import read_labels

    for draw in (1, 2):
        damaged = damage_input(mask, geometry, "combined", "middle", np.random.default_rng(draw), organ=organ)
        yield f"damage {draw}", damaged, geometry
    for path in sorted((DATA / "predictions" / organ / case).glob("*.nii.gz")):
        volume = read_labels(path)
        yield path.name.split(".")[0], volume.layers[0] != 0, volume.geometry


def given_surface(mask: np.ndarray, geometry):
    """The surface (RAS mm) that a refinement would start from, on a grid that is no finer than it needs."""
    from ReShapeITLib.distance.surface import SurfaceOptions, surface_from_mask
    from ReShapeITLib.training.prepare import thinned

    return surface_from_mask(*thinned(mask, geometry, LEAST_SPACING_MM), SurfaceOptions())


def compare(surface, template) -> dict:
    """What the plausibility check sees of a surface (RAS mm), by the way that a refinement goes."""
    from ReShapeITLib.interaction.alignment import align_to_template
    from ReShapeITLib.interaction.candidates import draw_surface_points
    from ReShapeITLib.refinement.aligned import alignment_with_scale_prior
    from ReShapeITLib.refinement.options import REFINE_PRESETS
    from ReShapeITLib.refinement.plausibility import check_plausibility
    from ReShapeITLib.templates.store import known_templates

    options = REFINE_PRESETS["standard"]
    points, _ = draw_surface_points(surface, options.candidates.n_surface, np.random.default_rng(options.seed))
    alignment = align_to_template(points, template.points_unit, alignment_with_scale_prior(options.alignment, template))
    told = check_plausibility(template.info, surface, alignment, force=True, others=known_templates())
    return {
        "volume_z": told.volume_z,
        "alignment_z": told.alignment_z,
        "problems": len(told.problems),
        "shape_distance": told.shape_distance,
        "closest_organ": told.closest_organ,
    }


def summary(rows: list[dict]) -> str:
    """Detection and false alarms, and the pairs that slip through."""
    right = [r for r in rows if r["organ"] == r["template"]]
    wrong = [r for r in rows if r["organ"] != r["template"]]
    lines = [
        f"wrong organ noticed: {np.mean([r['problems'] > 0 for r in wrong]):.1%} of {len(wrong)}",
        f"right organ held up: {np.mean([r['problems'] > 0 for r in right]):.1%} of {len(right)}",
    ]
    pairs = defaultdict(list)
    for row in wrong:
        pairs[row["organ"], row["template"]].append(row["problems"] > 0)
    lines += [f"  {a} as {b}: {np.mean(found):.0%} noticed" for (a, b), found in pairs.items() if not all(found)]
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    import torch

    from ReShapeITLib.templates.store import find_template
    from ReShapeITLib.templates.template import OrganTemplate

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=3, help="of each organ")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.output.mkdir(parents=True, exist_ok=True)
    path = arguments.output / "rows.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    done = {(r["organ"], r["case"], r["template"], r["input"]) for r in rows}
    templates = {organ: OrganTemplate.load(find_template(organ)) for organ in ORGANS}
    with open(path, "a", encoding="utf-8") as file:
        for organ in ORGANS:
            for case in unseen_cases(organ)[: arguments.cases]:
                mask, geometry = organ_mask(organ, case)
                inputs = [(name, "clean", mask, geometry) for name in ORGANS]
                inputs += [(organ, *given) for given in right_inputs(organ, case, mask, geometry)]
                surfaces = {}
                for name, given, voxels, grid in inputs:
                    row = {"organ": organ, "case": case, "template": name, "input": given}
                    if tuple(row.values()) not in done:
                        if given not in surfaces:
                            surfaces[given] = given_surface(voxels, grid)
                        row |= compare(surfaces[given], templates[name])
                        file.write(json.dumps(row) + "\n")
                        file.flush()
                        rows.append(row)
    print(summary(rows))


if __name__ == "__main__":
    main()
