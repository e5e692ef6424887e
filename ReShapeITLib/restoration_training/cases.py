"""Reading the training cases of the restoration network, and keeping them for the next start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from ..core.errors import BadInputError
from ..core.geometry import ImageGeometry, Similarity
from ..core.progress import Progress
from ..damage.levels import LEVELS, damage_input, with_room
from ..distance.smooth import is_coarse, smooth_distance_grid
from ..distance.surface import (
    DistanceGrid,
    SurfaceOptions,
    clean_mask,
    largest_component,
    signed_distance_grid,
    surface_from_grid,
)
from ..interaction.alignment import AlignmentOptions, align_to_template
from ..interaction.fitting import field_of_codes
from ..interaction.prior import CodePrior
from ..io.atomic import atomic_path
from ..io.volumes import read_labels
from ..refinement.aligned import alignment_with_scale_prior
from ..refinement.options import RefineOptions
from ..refinement.truncation import find_truncation, own_flat_shares
from ..restoration.grid import CanonicalGrid
from ..templates.store import find_template
from ..templates.template import OrganTemplate, read_shape_sha256
from ..training.prepare import case_name, thinned
from .config import OrganCases
from .data import PADDING_CELLS, STORED_LIMIT_CELLS, RestorationCase

_DAMAGED_ROOM_MM = 40.0  # around an organ, for what damage adds
_LEAST_SHARE = 0.2  # of each of two organs in one between them


def training_cases(organs: dict[str, OrganCases], folder: Path, progress: Progress):
    """Cases of all organs, their templates and the SHA-256 of the templates' shapes.

    Cases once made are kept in ``folder``.

    Args:
        organs: where the cases of each are.
        folder: to keep them in.
        progress: told the case; its cancel check ends the work.

    Raises:
        BadInputError: a file is missing or cannot be read, or a mask is empty.
    """
    cases, templates, hashes = [], {}, {}
    for index, (organ, told) in enumerate(organs.items()):
        file = find_template(told.template)
        templates[organ], hashes[organ] = OrganTemplate.load(file), read_shape_sha256(file)
        part = progress.part(index / len(organs), (index + 1) / len(organs))
        cases += _organ_cases(organ, told, templates[organ], folder, part)
    return cases, templates, hashes


def _organ_cases(
    organ: str, told: OrganCases, template: OrganTemplate, folder: Path, progress: Progress
) -> list[RestorationCase]:
    """The organ's own cases, the mirror images of the other side's, damaged copies of both, and mixed ones."""
    other, steps = told.other_side(), {}
    for name, side in ((organ, told), *([(f"{organ}_mirrored", other)] if other else [])):
        steps[f"cases_{name}"] = partial(read_cases, organ, side, template)
        if side.damaged:
            steps[f"damaged_{name}"] = partial(damaged_cases, organ, side, template)
    share, cases = 1.0 / (len(steps) + 1), []
    for number, (name, make) in enumerate(steps.items()):
        part = progress.part(number * share, (number + 1) * share)
        cases += _made_once(folder / f"{name}.safetensors", organ, partial(make, part))
    return cases + mixed_cases(template, told.mixed, progress.part(1.0 - share, 1.0))


def _made_once(path: Path, organ: str, make: Callable[[], list[RestorationCase]]) -> list[RestorationCase]:
    """The cases kept in ``path``; made and kept before where there is no such file."""
    if not path.is_file():
        _keep(path, make())
    return _kept(path, organ)


def _keep(path: Path, cases: list[RestorationCase]) -> None:
    from safetensors.numpy import save

    tensors = {f"{i}.truth": case.truth for i, case in enumerate(cases)}
    tensors |= {f"{i}.given": case.given for i, case in enumerate(cases) if case.given is not None}
    tensors |= {f"{i}.known": case.known for i, case in enumerate(cases) if case.known is not None}
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(tensors))


def _kept(path: Path, organ: str) -> list[RestorationCase]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise BadInputError(
            "The cases in {input} are damaged", "delete the file, it is made again", "restoration.cases", input=path
        ) from error
    count = sum(name.endswith(".truth") for name in tensors)
    parts = ("truth", "given", "known")
    return [RestorationCase(organ, *(tensors.get(f"{i}.{part}") for part in parts)) for i in range(count)]


def read_cases(organ: str, told: OrganCases, template: OrganTemplate, progress: Progress) -> list[RestorationCase]:
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
                raise BadInputError(
                    "{input} is not on the grid of the label file of {case}",
                    "resample it",
                    "restoration.other_grid",
                    input=path,
                    case=name,
                )
            if given.any():
                cases.append(restoration_case(truth, geometry, template, alignment_options, given))
    return cases


def damaged_cases(organ: str, told: OrganCases, template: OrganTemplate, progress: Progress) -> list[RestorationCase]:
    """Damaged copies of each case, as a refinement would see them: cleaned, aligned by what is left, and with the ends
    that look cut off. Always the same ones.

    Raises:
        BadInputError: a file is missing or cannot be read, or a mask is empty.
    """
    cases = []
    for index, name in enumerate(told.cases):
        progress.stage("damage", index / len(told.cases), f"{organ} {name}")
        labels, geometry = _labels(_only_file(Path(told.labels), name), told)
        truth = _is_organ(labels, told)
        labels, geometry = with_room(labels, truth, geometry, _DAMAGED_ROOM_MM)
        truth = _is_organ(labels, told)
        beside, true_distance = (labels != 0) & ~truth, signed_distance_grid(truth, geometry)
        for number in range(told.damaged):
            rng = np.random.default_rng([number, *name.encode()])
            level = str(rng.choice(list(LEVELS)))
            given = damage_input(truth, geometry, "combined", level, rng, [beside], organ)
            if given.any():
                # Masks of coarse voxels are smoothed in two ways, see ``refinement``; the network is to know both.
                smooth = is_coarse(geometry.spacing_mm) and rng.random() < 0.5
                cases.append(_damaged_case(true_distance, given, geometry, template, smooth))
    return cases


def _damaged_case(
    truth: DistanceGrid,
    given: np.ndarray,
    geometry: ImageGeometry,
    template: OrganTemplate,
    smooth: bool,
) -> RestorationCase:
    """One copy: ``given`` (K, J, I) bool on ``geometry``; ``smooth`` makes its surface as that of coarse voxels."""
    cleaned, _ = clean_mask(given, geometry, SurfaceOptions())
    distance = (smooth_distance_grid if smooth else signed_distance_grid)(cleaned, geometry)
    frame = _frame(distance, template, alignment_with_scale_prior(RefineOptions().alignment, template))
    ends = find_truncation(given, geometry, surface_from_grid(distance), own_flat_shares(template))
    grid = CanonicalGrid.around(template.points_unit).padded(PADDING_CELLS)
    known = None
    if ends is not None:
        centres_ras = frame.inverse().apply(grid.points_unit())
        known = ends.known_at(centres_ras, 0.0).reshape(grid.shape_zyx).astype(np.float16)
    return RestorationCase(template.info.organ, _cells(grid, truth, frame), _cells(grid, distance, frame), known)


def mixed_cases(template: OrganTemplate, number: int, progress: Progress) -> list[RestorationCase]:
    """Clean organs between two training cases of the template each: its field (Eq. 3) at codes part of the way from
    those of one to those of the other. Always the same ones.

    Raises:
        BadInputError: the template has fewer than two training cases.
    """
    if number and len(template.alpha) < 2:
        organ = template.info.organ
        raise BadInputError(
            "The template {organ} has one training case: there is nothing to mix",
            "set 'mixed' to 0",
            "restoration.one_case",
            organ=organ,
        )
    rng = np.random.default_rng([*template.info.organ.encode()])
    prior, grid = CodePrior.from_template(template), CanonicalGrid.around(template.points_unit).padded(PADDING_CELLS)
    points, cases = grid.points_unit(), []
    for index in range(number):
        progress.stage("mixed", index / number, template.info.organ)
        one, other = rng.choice(len(template.alpha), 2, replace=False)
        share = float(rng.uniform(_LEAST_SHARE, 1.0 - _LEAST_SHARE))
        alpha, beta = (codes[[one]].lerp(codes[[other]], share) for codes in (template.alpha, template.beta))
        field = field_of_codes(template, prior, alpha, beta, Similarity.identity())
        cells = (field.sdf_mm(points) / grid.cell_unit).reshape(grid.shape_zyx)
        cells[(cells < 0) & ~largest_component(cells < 0)] = STORED_LIMIT_CELLS
        truth = np.clip(cells, -STORED_LIMIT_CELLS, STORED_LIMIT_CELLS)
        cases.append(RestorationCase(template.info.organ, truth.astype(np.float16)))
    return cases


def _only_file(folder: Path, case: str) -> Path:
    found = [path for path in sorted(folder.glob(f"{case}.*")) if case_name(path) == case]
    if len(found) != 1:
        raise BadInputError(
            "{folder} has {count} label files named {case}",
            "leave exactly one there",
            "restoration.label_files",
            folder=folder,
            count=len(found),
            case=case,
        )
    return found[0]


def _labels(path: Path, told: OrganCases) -> tuple[np.ndarray, ImageGeometry]:
    volume = read_labels(path)
    values = volume.layers[0] % told.label_modulo if told.label_modulo else volume.layers[0]
    if told.flip:  # along the image axis that runs most nearly from right to left
        values = np.flip(values, 2 - int(np.abs(volume.geometry.direction_ras[0]).argmax()))
    return thinned(values, volume.geometry, told.least_spacing_mm)


def _is_organ(labels: np.ndarray, told: OrganCases) -> np.ndarray:
    return labels == told.label if told.label else labels != 0


def _mask(path: Path, told: OrganCases) -> tuple[np.ndarray, ImageGeometry]:
    labels, geometry = _labels(path, told)
    return _is_organ(labels, told), geometry


def restoration_case(
    truth: np.ndarray,
    geometry: ImageGeometry,
    template: OrganTemplate,
    alignment_options: AlignmentOptions,
    given: np.ndarray | None = None,
) -> RestorationCase:
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
    frame = _frame(distances["truth" if given is None else "given"], template, alignment_options)
    return RestorationCase(template.info.organ, **{name: _cells(grid, d, frame) for name, d in distances.items()})


def _frame(distance: DistanceGrid, template: OrganTemplate, options: AlignmentOptions) -> Similarity:
    points = surface_from_grid(distance).sample_points(2000, np.random.default_rng(0))[0]
    return align_to_template(points, template.points_unit, options).ras_to_unit


def _cells(grid: CanonicalGrid, distance: DistanceGrid, frame: Similarity) -> np.ndarray:
    return grid.sample_cells(distance, frame, STORED_LIMIT_CELLS).astype(np.float16)
