"""One input, all methods: the six metrics of each."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ReShapeITLib.core.errors import ReShapeITError
from ReShapeITLib.distance.smooth import is_coarse, smooth_distance_grid
from ReShapeITLib.distance.surface import DistanceGrid, SurfaceOptions, signed_distance_grid, surface_from_grid
from ReShapeITLib.metrics import compare_surfaces, evaluate
from ReShapeITLib.restoration.store import FOLDERS_VARIABLE

from .families import Family
from .inputs import CaseInput, make_input
from .methods import Method
from .study import INPUT, Study

if TYPE_CHECKING:
    from ReShapeITLib.core.geometry import ImageGeometry
    from ReShapeITLib.core.mesh import TriangleSurface

METRIC_NAMES = ("cd", "emd", "dsc", "nsd", "hd95_mm", "assd_mm")
# One EMD of 1K points differs by a tenth from one sampling to the next.
_MORE_EMD_SEEDS = (1, 2, 3)
# Cleaning away specks and cavities would hide them from the metrics.
AS_IT_IS = SurfaceOptions(min_island_mm3=0.0, fill_holes=False)

MethodMaker = Callable[[Study], dict[str, Method]]


@dataclass(frozen=True)
class Job:
    """One input and the methods that have no row for it yet; ``INPUT`` stands for the input itself."""

    case: str
    family: Family
    variant: str
    methods: tuple[str, ...]


def measure(study: Study, job: Job, methods: dict[str, Method]) -> Iterator[dict]:
    """A row for each method of a job.

    A method that fails, or leaves nothing, gets a row with ``error`` in place of the metrics.
    """
    given = make_input(study, job.case, job.family, job.variant)
    reference = surface_from_grid(distance_as_it_is(given.truth, given.geometry))
    about = {"patient": study.patient(job.case), "case": job.case, "family": job.family.name, "variant": job.variant}
    for name in job.methods:
        row = {**about, "method": name}
        if name == INPUT:
            yield row | metrics(study, given, reference, given.given)
            continue
        try:
            started = time.perf_counter()
            with calibrated_without(study.calibrations, about["patient"]):
                result = methods[name](given.given.copy(), given.geometry)
            seconds = round(time.perf_counter() - started, 3)
            if not result.mask.any():
                raise ReShapeITError("Nothing is left of the organ.")
            yield row | metrics(study, given, reference, result.mask, result.surface) | {"seconds": seconds}
        except ReShapeITError as error:
            yield row | {"error": str(error)}
        except Exception as error:  # noqa: BLE001 - a rival may fail in any way
            yield row | {"error": f"{type(error).__name__}: {error}"}


@contextmanager
def calibrated_without(calibrations: Path | None, patient: str) -> Iterator[None]:
    """Within it refinements decide by a calibration that has not seen the patient, where the folder has one."""
    folder = calibrations and calibrations / patient
    if not (folder and folder.is_dir()):
        yield
        return
    before = os.environ.get(FOLDERS_VARIABLE)
    os.environ[FOLDERS_VARIABLE] = os.pathsep.join(filter(None, (str(folder), before)))
    try:
        yield
    finally:
        os.environ.pop(FOLDERS_VARIABLE)
        if before is not None:
            os.environ[FOLDERS_VARIABLE] = before


def distance_as_it_is(mask: np.ndarray, geometry: ImageGeometry) -> DistanceGrid:
    """Signed distance (mm, RAS) of a (K, J, I) bool mask, nothing cleaned away, made as a refinement makes that of its
    voxels: the surfaces of two equal masks are the same."""
    if is_coarse(geometry.spacing_mm):
        return smooth_distance_grid(mask, geometry)
    return signed_distance_grid(mask, geometry, AS_IT_IS)


def metrics(
    study: Study, given: CaseInput, reference: TriangleSurface, mask: np.ndarray, surface: TriangleSurface | None = None
) -> dict[str, float | None]:
    """All six of a (K, J, I) bool mask against the truth; None where there is no finite value.

    Args:
        study: for the tolerance.
        given: the truth and its grid.
        reference: surface of the truth, RAS mm.
        mask: to measure.
        surface: of the mask, RAS mm; made of it where None.
    """
    if surface is None and mask.any():
        surface = surface_from_grid(distance_as_it_is(mask, given.geometry))
    values = evaluate(given.truth, mask, given.geometry, reference, surface, study.nsd_tolerance_mm)
    emd = [values.emd]
    if math.isfinite(values.emd):
        emd += [compare_surfaces(reference, surface, seed=seed).emd_mean for seed in _MORE_EMD_SEEDS]
    told = {name: getattr(values, name) for name in METRIC_NAMES} | {"emd": float(np.mean(emd))}
    return {name: value if math.isfinite(value) else None for name, value in told.items()}
