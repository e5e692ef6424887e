"""How sure must a restoration network be to be believed? Its contradictions with given organs, weighed by the truth.

    python -m Testing.Studies.confidence_regions --organ pancreas --network FILE --output FOLDER

Needs the development data beside the repository (``../shared/data``). Looks at organs that neither template nor network
has learnt from (``HELD_OUT``), as networks predicted them and with made damage: every connected region in which the
network contradicts the given organ becomes a line of ``regions.jsonl`` with its kind, how sure the network is, and what
taking it up would win or lose. Printed is, for each kind, what every threshold would win in all, what the thresholds
that the network brings along win, and what decisions with the truth in hand would. The figures of
``ReShapeITLib/restoration/confidence.py`` and those that networks bring along were chosen from such tables.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from Testing.Studies.wrong_organs import DATA, LOBES, unseen_cases

LEAST_SPACING_MM = 1.4
HELD_OUT = {
    "pancreas": ["t2_024", "t2_075", "t2_119", "t2_170", "t2_193", "t2_299", "t2_336", "t2_386", "t2_466", "t2_502"],
}
THRESHOLDS = np.arange(0.25, 3.01, 0.25)
KINDS = ("add", "add_much", "open", "remove", "remove_much", "island", "island_much")
_FAR_CELLS = 12.0


def inputs_of(organ: str, case: str, truth: np.ndarray, geometry, draws: int):
    """Given organs of a case: name, (K, J, I) bool mask on the grid of the truth."""
    from ReShapeITLib.damage.levels import damage_input
    from ReShapeITLib.io.volumes import read_labels

    for draw in range(draws):
        rng = np.random.default_rng([len(case), draw, *case.encode()])
        yield f"damage {draw}", damage_input(truth, geometry, "combined", "middle", rng, organ=organ)
    for path in sorted((DATA / "predictions" / organ / case).glob("*.nii.gz")):
        yield path.name.split(".")[0], read_labels(path).layers[0] != 0


def regions(given: np.ndarray, truth: np.ndarray, geometry, template, network) -> list[dict]:
    """One row for each region of the first pass, as :func:`ReShapeITLib.refinement.refine` makes it."""
    from ReShapeITLib.distance.surface import (
        SurfaceOptions,
        clean_mask,
        signed_distance_grid,
        surface_from_grid,
    )
    from ReShapeITLib.interaction.alignment import align_to_template
    from ReShapeITLib.refinement.aligned import alignment_with_scale_prior
    from ReShapeITLib.refinement.healing import with_measured_confidence, without_components_out_of_reach
    from ReShapeITLib.refinement.options import REFINE_PRESETS
    from ReShapeITLib.refinement.truncation import find_truncation
    from ReShapeITLib.restoration.confidence import ConfidenceOptions, disagreements
    from ReShapeITLib.restoration.grid import CanonicalGrid
    from ReShapeITLib.restoration.model import restore

    options = alignment_with_scale_prior(REFINE_PRESETS["standard"].alignment, template)
    cleaned, _ = clean_mask(given, geometry, SurfaceOptions())
    surface = surface_from_grid(signed_distance_grid(cleaned, geometry))
    points = surface.sample_points(2000, np.random.default_rng(0))[0]
    frame = align_to_template(points, template.points_unit, options).ras_to_unit
    near = without_components_out_of_reach(cleaned, geometry, template, frame)
    confidence = with_measured_confidence(ConfidenceOptions(), network)
    ends = find_truncation(given, geometry, surface, confidence.flat_shares)
    restoration = restore(network, template, signed_distance_grid(near, geometry), frame, seen=ends)
    given_cells, restored = (g.values_mm / restoration.cell_mm for g in (restoration.given, restoration.restored))
    grid = CanonicalGrid.around(template.points_unit)
    true = grid.sample_cells(signed_distance_grid(truth, geometry), frame, _FAR_CELLS)
    volumes = np.log(template.info.volumes_ml)
    volume_z = (np.log(surface.volume_mm3 / 1000.0) - volumes.mean()) / max(volumes.std(), 0.25)
    rows = []
    for region, kind, sure in disagreements(given_cells, restored, confidence, restoration.unseen):
        change = region & ((given_cells < 0) != (restored < 0))
        right = change & ((restored < 0) == (true < 0))
        sign = np.where(right[change], 1.0, -1.0)
        rows.append(
            {
                "kind": kind,
                "sure": sure,
                "cells": int(change.sum()),
                "won_cells": float(sign.sum()),
                "believed": bool(sure > confidence.threshold(kind, volume_z)),
                "share": float(change.sum() / (given_cells < 0).sum()),
                "volume_z": float(volume_z),
                "won_distance": float((sign * np.abs(true[change])).sum() / (np.abs(true) < 0.5).sum()),
            }
        )
    return rows


def summary(rows: list[dict]) -> str:
    """For each kind and rule: regions taken up, share of them that are right, and what is won in all."""
    lines = ["| kind | taken up | regions | right | distance won, cells of surface | cells won |", "|---" * 6 + "|"]
    for kind in KINDS:
        of_kind = [row for row in rows if row["kind"] == kind]
        rules = {f"surer than {t:.2f}": [row["sure"] > t for row in of_kind] for t in THRESHOLDS}
        rules["as the network is believed"] = [row["believed"] for row in of_kind]
        rules["with the truth in hand"] = [row["won_cells"] > 0 for row in of_kind]
        for rule, chosen in rules.items():
            taken = [row for row, yes in zip(of_kind, chosen, strict=True) if yes]
            if taken:
                right = np.mean([row["won_cells"] > 0 for row in taken])
                won, cells = (sum(row[name] for row in taken) for name in ("won_distance", "won_cells"))
                lines.append(f"| {kind} | {rule} | {len(taken)} | {right:.0%} | {won:.3f} | {cells:.0f} |")
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    import torch

    from ReShapeITLib.damage.levels import with_room
    from ReShapeITLib.io.volumes import read_labels
    from ReShapeITLib.restoration.model import RestorationModel
    from ReShapeITLib.templates.store import find_template
    from ReShapeITLib.templates.template import OrganTemplate
    from ReShapeITLib.training.prepare import thinned
    from Testing.Studies.evaluation.families import label_file

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--organ", required=True)
    parser.add_argument("--network", required=True, help="restoration network file")
    parser.add_argument("--cases", nargs="*", help="instead of those held out")
    parser.add_argument("--draws", type=int, default=3, help="made damages of each case")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    organ = arguments.organ
    template, network = OrganTemplate.load(find_template(organ)), RestorationModel.load(arguments.network)
    arguments.output.mkdir(parents=True, exist_ok=True)
    rows = []
    for case in arguments.cases or HELD_OUT.get(organ) or unseen_cases(organ):
        volume = read_labels(label_file(DATA / ("lung_lobes" if organ in LOBES else organ), case))
        labels = volume.flattened()
        truth = labels % 512 == LOBES[organ] if organ in LOBES else labels != 0
        for name, given in inputs_of(organ, case, truth, volume.geometry, arguments.draws):
            both = given.astype(np.uint8) + 2 * truth
            both, geometry = with_room(both, both > 0, volume.geometry, 20.0)
            both, geometry = thinned(both, geometry, LEAST_SPACING_MM)
            masks = both & 1 > 0, both > 1
            if not masks[0].any():
                continue
            found = regions(*masks, geometry, template, network)
            rows += [{"organ": organ, "case": case, "input": name, **row} for row in found]
    (arguments.output / "regions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    print(summary(rows))


if __name__ == "__main__":
    main()
