"""Make files of several restoration networks from single ones::

    python -m Testing.Studies.join_networks --networks FOLDER --output FOLDER --work FOLDER [--error 0.025]

Networks of the abdomen and of the lungs go into one file each, see ``restoration_training.joining``. The work folder
keeps the training cases that the networks are asked about, some of each organ. A file that is there stays.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch

from ReShapeITLib.core.progress import Progress
from ReShapeITLib.restoration.grid import CELL_UNIT, CanonicalGrid, template_cells
from ReShapeITLib.restoration.model import RestorationModel
from ReShapeITLib.restoration.store import restoration_sha256
from ReShapeITLib.restoration.table import DETAIL, SPARSE, WHOLE, NetworkTable
from ReShapeITLib.restoration_training.cases import training_cases
from ReShapeITLib.restoration_training.config import RestorationTraining, read_restoration_config
from ReShapeITLib.restoration_training.data import draw_batch
from ReShapeITLib.restoration_training.joining import Batch, join
from ReShapeITLib.training.config import override

FAMILIES = ("abdomen", "lungs")
CONFIGURATIONS = Path(__file__).resolve().parents[2] / "Resources" / "Training"
CASES, BATCHES, SEED = 7, 12, 5


def main() -> None:
    """Join both families and write the table beside them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("networks", "output", "work"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--error", type=float, default=0.025, help="of a layer's answers, see joining.join")
    options = parser.parse_args()
    torch.set_num_threads(1)
    table = NetworkTable()
    for family in FAMILIES:
        members = {p.stem: RestorationModel.load(p) for p in sorted(options.networks.glob("*.safetensors"))}
        members = {name: model for name, model in members.items() if _is_of(model, family)}
        file = options.output / f"{family}.safetensors"
        if not file.is_file():
            join(file, members, lambda model: batches(model, options.work), options.error, print)
        for name, model in sorted(members.items(), key=lambda member: -len(member[1].info.templates)):
            mode = SPARSE if model.info.few_slices else DETAIL if model.info.detail else WHOLE
            table = table.with_network(f"{file.name}/{name}", restoration_sha256(file), mode, model.info.templates)
    table.write(options.output)


def _is_of(model: RestorationModel, family: str) -> bool:
    return (family == "lungs") == any(organ.startswith("lung_") for organ in model.info.templates)


def batches(model: RestorationModel, work: Path) -> Iterator[Batch]:
    """What the network is asked about, drawn as in its training."""
    told = {name: value for name, value in model.info.training.items() if name != "belief"}
    draw = replace(override(RestorationTraining(), told, "training").draw, batch=1)
    organs = {organ: _organ(organ, work) for organ in model.network.options.organs}
    cases = {organ: of for organ, (of, _, _) in organs.items()}
    cells_mm = {organ: mm for organ, (_, _, mm) in organs.items()}
    for number in range(BATCHES):
        organ, given, known, _ = draw_batch(cases, draw, np.random.default_rng([SEED, number]), None, cells_mm)
        row = torch.tensor([model.network.organ_index(organ)])
        yield given, known, organs[organ][1].expand_as(given), row


@cache
def _organ(organ: str, work: Path):
    """Some training cases, the template on their grid, and the edge of a cell in mm."""
    for path in sorted(CONFIGURATIONS.glob("restoration_*.yaml")):
        told = read_restoration_config(path)[0].get(organ)
        if told is not None:
            break
    names = np.random.default_rng(0).permutation(list(told.cases))[:CASES]
    told = replace(told, cases=tuple(map(str, names)), damaged=0, mixed=0, mirrored="")
    (work / organ).mkdir(parents=True, exist_ok=True)
    cases, templates, _ = training_cases({organ: told}, work / organ, Progress("none"))
    template = templates[organ]
    cells = torch.tensor(template_cells(template, CanonicalGrid.around(template.points_unit)))
    return cases, cells, CELL_UNIT * float(np.mean(template.info.scales_mm))


if __name__ == "__main__":
    main()
