"""Reading the training cases of the restoration network, and keeping them for the next start."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from ..atomic import atomic_path
from ..errors import BadInputError
from ..geometry import ImageGeometry
from ..interaction.alignment import AlignmentOptions, align_to_template
from ..progress import Progress
from ..refinement import RefineOptions, alignment_with_scale_prior
from ..surface import signed_distance_grid, surface_from_grid
from ..template import OrganTemplate, read_shape_sha256
from ..template_store import find_template
from ..training.prepare import case_name, thinned
from ..volume_io import read_labels
from .config import OrganCases
from .data import PADDING_CELLS, STORED_LIMIT_CELLS, RestorationCase
from .grid import CanonicalGrid


def training_cases(organs: dict[str, OrganCases], folder: Path, progress: Progress):
    """Cases of all organs, their templates and the SHA-256 of the templates' shapes.

    Cases once made are kept in ``folder``.

    Raises:
        BadInputError: a file is missing or cannot be read, or a mask is empty.
    """
    cases, templates, hashes = [], {}, {}
    for index, (organ, told) in enumerate(organs.items()):
        file = find_template(told.template)
        templates[organ], hashes[organ] = OrganTemplate.load(file), read_shape_sha256(file)
        kept = folder / f"cases_{organ}.safetensors"
        if not kept.is_file():
            part = progress.part(index / len(organs), (index + 1) / len(organs))
            _keep(kept, read_cases(organ, told, templates[organ], part))
        cases += _kept(kept, organ)
    return cases, templates, hashes


def _keep(path: Path, cases: list[RestorationCase]) -> None:
    from safetensors.numpy import save

    tensors = {f"{i}.truth": case.truth for i, case in enumerate(cases)}
    tensors |= {f"{i}.given": case.given for i, case in enumerate(cases) if case.given is not None}
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(tensors))


def _kept(path: Path, organ: str) -> list[RestorationCase]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise BadInputError(f"The cases in {path} are damaged; delete the file, it is made again.") from error
    count = sum(name.endswith(".truth") for name in tensors)
    return [RestorationCase(organ, tensors[f"{i}.truth"], tensors.get(f"{i}.given")) for i in range(count)]


def read_cases(
    organ: str, told: OrganCases, template: OrganTemplate, progress: Progress
) -> list[RestorationCase]:
    """All cases of an organ: each clean organ, and each real segmentation of it.

    Raises:
        BadInputError: a file is missing or cannot be read, or a mask is empty.
    """
    cases = []
    alignment_options = alignment_with_scale_prior(RefineOptions().alignment, template)
    for index, name in enumerate(told.cases):
        progress.stage("cases", index / len(told.cases), f"{organ} {name}")
        truth, geometry = _mask(_only_file(Path(told.labels), name), told)
        cases.append(restoration_case(truth, geometry, template, alignment_options))
        folder = Path(told.predictions) / name
        for path in sorted(folder.iterdir()) if told.predictions and folder.is_dir() else ():
            given, grid = _mask(path, replace(told, label=0, label_modulo=0))
            if not grid.same_grid_as(geometry):
                raise BadInputError(f"{path} is not on the grid of the label file of {name}; resample it.")
            if given.any():
                cases.append(restoration_case(truth, geometry, template, alignment_options, given))
    return cases


def _only_file(folder: Path, case: str) -> Path:
    found = [path for path in sorted(folder.glob(f"{case}.*")) if case_name(path) == case]
    if len(found) != 1:
        raise BadInputError(f"{folder} has {len(found)} label files named {case}; there must be one.")
    return found[0]


def _mask(path: Path, told: OrganCases) -> tuple[np.ndarray, ImageGeometry]:
    volume = read_labels(path)
    values = volume.layers[0] % told.label_modulo if told.label_modulo else volume.layers[0]
    mask = values == told.label if told.label else values != 0
    return thinned(mask, volume.geometry, told.least_spacing_mm)


def restoration_case(
    truth: np.ndarray, geometry: ImageGeometry, template: OrganTemplate, alignment_options: AlignmentOptions,
    given: np.ndarray | None = None,
) -> RestorationCase:  # fmt: skip
    """A case in the frame that aligning the given organ (the clean one where None) leads to.

    Args:
        truth, given: (K, J, I) bool masks.
        geometry: of both.
        template: of the organ.
        alignment_options: those that refinement uses.
    """
    grid = CanonicalGrid.around(template.points_unit).padded(PADDING_CELLS)
    distances = {"truth": signed_distance_grid(truth, geometry)}
    if given is not None:
        distances["given"] = signed_distance_grid(given, geometry)
    shown = surface_from_grid(distances["truth" if given is None else "given"])
    points = shown.sample_points(2000, np.random.default_rng(0))[0]
    frame = align_to_template(points, template.points_unit, alignment_options).ras_to_unit
    arrays = {
        name: grid.sample_cells(distance, frame, STORED_LIMIT_CELLS).astype(np.float16)
        for name, distance in distances.items()
    }
    return RestorationCase(template.info.organ, **arrays)
