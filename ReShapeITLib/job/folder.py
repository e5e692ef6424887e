"""A patient's folder of masks: those of known organs are refined together, all other files are copied."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.device import Device
from ..core.errors import BadInputError, ReShapeITError
from ..core.progress import Progress, ProgressPart
from ..io.mask_folder import Mask, copy_folder, folder_taking_place, mask_files, read_mask, stacked, write_mask
from ..templates.store import find_template
from ..templates.template import read_info
from .inputs.by_name import AUTO, Named, recognised_files
from .licences import tell_licences
from .report import NO_SEGMENT
from .request import RefineJob
from .whole_patient import Label, RefinedPatient, refine_patient


@dataclass(frozen=True, eq=False)
class RefinedFolder:
    """What came of a folder.

    Args:
        patients: of the masks of each grid, by the names of the masks; the first one also has the errors of masks that
            could not be read.
        masks: as they were read, by name.
        files: of the masks, by name.
    """

    patients: tuple[RefinedPatient, ...]
    masks: Mapping[str, Mask]
    files: Mapping[str, Path]

    def write(self, job: RefineJob) -> None:
        """Write the output folder; it appears as a whole.

        Raises:
            BadInputError: it cannot be written.
        """
        with folder_taking_place(job.output, job.overwrite) as temporary:
            copy_folder(job.input, temporary)
            for patient in self.patients:
                volume = patient.volume
                if volume is None:
                    continue
                for name in map(str, patient.shapes):
                    write_mask(self.masks[name], volume.mask(name), temporary / self.files[name].name)


def refine_folder(
    job: RefineJob, device: Device, progress: Progress | ProgressPart, notice: Callable[[str], None]
) -> RefinedFolder:
    """Refine the masks of a folder.

    Masks of one grid are refined together. The voxels of other masks on that grid are not taken, unless these overlap
    the organs, as vessels or the whole body do.

    Args:
        job: its input is the folder, the keys of its templates are names of masks.
        device: to compute on.
        progress: gets the stages.
        notice: called with sentences for the user.

    Raises:
        BadInputError, ImplausibleError, CancelledError: see ``job.run_refine_job``.
    """
    if job.with_:
        words = "--with names labels of one file, but {input} is a folder of masks"
        raise BadInputError(words, "merge the masks into one file", "with.folder", input=job.input)
    files = mask_files(job.input)
    chosen = _chosen(files, job, notice)
    if job.non_commercial:
        tell_licences(chosen.values(), job.restoration, job.sparse, notice)
    masks: dict[str, Mask] = {}
    errors: dict[Label, ReShapeITError] = {}
    for name in chosen:
        try:
            if name not in files:
                words = "{input} has no mask '{label}'"
                raise BadInputError(words, "check its name", NO_SEGMENT, input=job.input, label=name)
            masks[name] = read_mask(files[name])
        except BadInputError as error:
            if job.strict:
                raise
            errors[name] = error
    groups = _by_grid(masks)
    taken = _occupied(groups, [file for name, file in files.items() if name not in chosen])
    patients = []
    for index, (group, occupied) in enumerate(zip(groups, taken, strict=True)):
        volume = stacked(group, job.input, occupied)
        templates: dict[Label, Path] = {name: chosen[name] for name in group}
        part = progress.part(index / len(groups), (index + 1) / len(groups))
        patients.append(refine_patient(volume, templates, job, device, part, notice))
    if errors:
        patients.append(
            RefinedPatient(None, errors=errors, names={name: read_info(chosen[str(name)])[0].organ for name in errors})
        )
    return RefinedFolder(tuple(patients), masks, files)


def _chosen(files: Mapping[str, Path], job: RefineJob, notice: Callable[[str], None]) -> dict[str, Path]:
    """Template file of each mask to refine."""
    templates = dict(job.templates)
    if templates == {None: AUTO}:
        named = [Named(name, name) for name in files]
        return {str(name): file for name, file in recognised_files(named, job.names, job.input, notice).items()}
    if None in templates and len(files) > 1:
        words, hint = "{input} holds several masks ({labels})", "use --template auto, or MASK=NAME,MASK=NAME"
        raise BadInputError(words, hint, "folder.several_masks", input=job.input, labels=", ".join(list(files)[:20]))
    chosen: dict[str, Path] = {}
    for which, name in templates.items():
        mask = next(iter(files)) if which is None else str(which)
        if name == AUTO:
            (chosen[mask],) = recognised_files([Named(mask, mask)], job.names, job.input, notice).values()
        else:
            chosen[mask] = find_template(name)
    return chosen


def _by_grid(masks: Mapping[str, Mask]) -> list[dict[str, Mask]]:
    groups: list[dict[str, Mask]] = []
    for name, mask in masks.items():
        for group in groups:
            if next(iter(group.values())).volume.geometry.same_grid_as(mask.volume.geometry):
                group[name] = mask
                break
        else:
            groups.append({name: mask})
    return groups


def _occupied(groups: list[dict[str, Mask]], others: Iterable[Path]) -> list[np.ndarray]:
    """(K, J, I) bool voxels of each grid that belong to other masks, without those that overlap an organ on purpose."""
    organs = [np.logical_or.reduce([mask.voxels for mask in group.values()]) for group in groups]
    occupied = [np.zeros_like(voxels) for voxels in organs]
    grids = [next(iter(group.values())).volume.geometry for group in groups]
    for path in others:
        try:
            mask = read_mask(path)
        except BadInputError:
            continue  # no mask, or a damaged one: it is copied as it is
        for index, grid in enumerate(grids):
            if grid.same_grid_as(mask.volume.geometry) and not (mask.voxels & organs[index]).any():
                occupied[index] |= mask.voxels
    return occupied
