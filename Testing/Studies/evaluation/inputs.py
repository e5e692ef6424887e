"""The segmentations that methods are given: one case and one family at a time."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.damage.levels import coarse_input, damage_input, sparse_input, with_room
from ReShapeITLib.io.volumes import read_labels

from .families import Clean, Coarse, Damage, Family, Predictions, Sparse, label_file
from .study import Study

_ROOM_MM = 20.0  # around the organ where nothing is added to it


@dataclass(frozen=True, eq=False)
class CaseInput:
    """What a method is given, and what it is measured against.

    Args:
        truth, given: (K, J, I) bool masks.
        geometry: of both.
    """

    truth: np.ndarray
    given: np.ndarray
    geometry: ImageGeometry


def variants(family: Family) -> tuple[str, ...]:
    """Names of the inputs that a family has of each case; one without a name where there is just one."""
    if isinstance(family, Damage) and family.draws > 1:
        return tuple(f"draw {number}" for number in range(1, family.draws + 1))
    return family.names if isinstance(family, Predictions) else ("",)


def check_inputs(study: Study) -> None:
    """Complain about predictions that are not there before the work, not in the middle of it.

    Raises:
        BadInputError: a prediction is missing.
    """
    for family in study.families:
        for case in study.cases if isinstance(family, Predictions) else ():
            for variant in family.names:
                label_file(Path(family.folder) / case, variant)


def make_input(study: Study, case: str, family: Family, variant: str) -> CaseInput:
    """The input ``variant`` of a family for a case; the same study always makes the same one.

    Predictions stay on their grid. Other inputs are made on the truth's grid, cropped or padded to leave the same room
    around every organ.

    Raises:
        BadInputError: a file cannot be read, the truth has no voxels, or a prediction is on another grid.
    """
    path = study.cases[case]
    labels, geometry = _labels(path, study.label_modulo)
    truth = labels == study.label if study.label else labels != 0
    if not truth.any():
        raise BadInputError(f"{path} has no voxels of the organ; check 'label' and 'label_modulo' of the study.")
    if isinstance(family, Predictions):
        return CaseInput(truth, _prediction(family, case, variant, geometry), geometry)
    room_mm = family.room_mm if isinstance(family, Damage) else _ROOM_MM
    labels, geometry = with_room(labels, truth, geometry, room_mm)
    truth = labels == study.label if study.label else labels != 0
    return CaseInput(truth, _made(study, case, family, variant, labels, truth, geometry), geometry)


def training_organs(study: Study) -> Iterator[tuple[np.ndarray, ImageGeometry]]:
    """(K, J, I) bool mask and geometry of each training file of a study, read one by one."""
    for path in study.training:
        labels, geometry = _labels(path, study.label_modulo)
        yield (labels == study.label if study.label else labels != 0), geometry


def _labels(path: Path, modulo: int) -> tuple[np.ndarray, ImageGeometry]:
    """(K, J, I) label values, modulo ``modulo`` where that is not 0, and their geometry."""
    volume = read_labels(path)
    labels = volume.flattened()
    return (labels % modulo if modulo else labels), volume.geometry


def _prediction(family: Predictions, case: str, variant: str, geometry: ImageGeometry) -> np.ndarray:
    """(K, J, I) bool, every voxel that is not zero."""
    path = label_file(Path(family.folder) / case, variant)
    labels, grid = _labels(path, 0)
    if not grid.same_grid_as(geometry):
        raise BadInputError(f"{path} is not on the grid of the truth of {case}; resample it.")
    return labels != 0


def _made(
    study: Study,
    case: str,
    family: Clean | Coarse | Damage | Sparse,
    variant: str,
    labels: np.ndarray,
    truth: np.ndarray,
    geometry: ImageGeometry,
) -> np.ndarray:
    """(K, J, I) bool, made of the truth; ``labels`` also holds its neighbours."""
    if isinstance(family, Clean):
        return truth
    if isinstance(family, Sparse):
        return sparse_input(truth, head_feet_axis(geometry), family.gap_mm / geometry.spacing_mm)
    if isinstance(family, Coarse):
        return coarse_input(truth, geometry, _coarse_voxels_mm(family, geometry))
    # Without the level: the same place is damaged less or more.
    rng = np.random.default_rng([study.seed, _number(case), _number(family.damage + variant)])
    neighbours = [(labels != 0) & ~truth]
    return damage_input(truth, geometry, family.damage, family.level, rng, neighbours, study.organ)


def _coarse_voxels_mm(family: Coarse, geometry: ImageGeometry) -> np.ndarray:
    """(3,) voxel edges in mm along i, j, k: cubes, or slices across the axis nearest to head-feet."""
    if family.voxel_mm:
        return np.full(3, family.voxel_mm)
    voxels_mm = geometry.spacing_mm.copy()
    voxels_mm[head_feet_axis(geometry)] = family.slice_mm
    return voxels_mm


def head_feet_axis(geometry: ImageGeometry) -> int:
    """Which of i, j, k runs nearest to head-feet."""
    return int(np.abs(geometry.direction_ras[2]).argmax())


def _number(text: str) -> int:
    """A number for a text that is the same in every process."""
    return zlib.crc32(text.encode())
