"""Several organs of one volume: what is there is refined; what is absent, implausible or fails is told and stays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.device import Device, free_memory_bytes, limit_cpu_threads
from ..core.errors import (
    CANNOT_WRITE,
    DEVICE_UNUSABLE,
    DISK_FULL,
    MISSING_PACKAGE,
    NON_COMMERCIAL,
    OUT_OF_MEMORY,
    BadInputError,
    CancelledError,
    ImplausibleError,
    Notice,
    ReShapeITError,
    label_subject,
)
from ..core.geometry import box_of_boxes
from ..core.labels import LabelVolume
from ..core.parallel import threads, together
from ..core.progress import Progress, ProgressPart
from ..refinement.several_organs.agreement import agree
from ..templates.template import read_info
from .explanation import explained
from .inputs.by_name import AUTO
from .licences import check_licences, left_for_licence
from .organ import RefinedOrgan, organ_report, refine_label, whole_of
from .pieces.guard import Guard
from .pieces.points import JobPoints
from .pieces.suggested import suggestion_volume
from .report import NO_VOXELS, NOT_REFINED, OrganNotRefined, OrganReport, RefineReport, not_refined, peak_memory_mb
from .request import RefineJob

if TYPE_CHECKING:
    import numpy as np

    from ..core.mesh import TriangleSurface
    from ..refinement.refined import RefinedShape

FEWEST_VOXELS = 64
_MEMORY_FOR_TWO_BYTES = 6 * 2**30  # two lobes of 0.6 mm voxels at once take 4 GB
# What is wrong with the machine or the licence is wrong with every organ.
_OF_ALL_ORGANS = (
    CANNOT_WRITE,
    DEVICE_UNUSABLE,
    DISK_FULL,
    MISSING_PACKAGE,
    NON_COMMERCIAL,
    OUT_OF_MEMORY,
    "torch_numpy",
)
Label = int | str


@dataclass(eq=False)
class RefinedPatient:
    """What came of the organs of one volume.

    Args:
        volume: with the refined labels; all others as they were given. None where nothing could be read.
        shapes, surfaces: of each refined label; no surfaces where neither surface nor report was asked for.
        organs: what the report says about each of them.
        errors: why each of the others was not refined.
        names: organ of each label that was asked for.
        suggestions: a segment for each, where the job asks for them.
    """

    volume: LabelVolume | None
    shapes: dict[Label, RefinedShape] = field(default_factory=dict)
    surfaces: dict[Label, TriangleSurface] = field(default_factory=dict)
    organs: tuple[OrganReport, ...] = ()
    errors: dict[Label, ReShapeITError] = field(default_factory=dict)
    names: dict[Label, str] = field(default_factory=dict)
    suggestions: LabelVolume | None = None

    @property
    def not_refined(self) -> tuple[OrganNotRefined, ...]:
        """The entries of the report for organs that stay as they are."""
        errors = self.errors
        return tuple(not_refined(label, name, errors[label]) for label, name in self.names.items() if label in errors)

    def failed(self, label: Label, error: Exception, strict: bool) -> None:
        """Note why an organ is not refined.

        Raises:
            ReShapeITError, MemoryError: the error itself, where ``strict`` asks for it or it concerns every organ.
        """
        told = explained(error)
        if strict or isinstance(told, CancelledError) or told.code in _OF_ALL_ORGANS:
            raise error
        self.errors[label] = told


def refine_patient(
    volume: LabelVolume,
    files: Mapping[Label, Path],
    job: RefineJob,
    device: Device,
    progress: Progress | ProgressPart,
    notice: Callable[[str], None],
    parts: Mapping[Label, np.ndarray] | None = None,
) -> RefinedPatient:
    """Refine labels of a volume together.

    Args:
        volume: as given.
        files: template of each label number, segment id or name.
        job: with the options; ``strict`` lets the first organ that cannot be refined end the run.
        device: to compute on.
        progress: gets the stages.
        notice: called with sentences for the user.
        parts: (K, J, I) bool voxels that belong to a label's organ whatever its shape, by label.

    Raises:
        BadInputError: a segment is named twice, or a licence is not accepted; with ``job.strict`` also what is wrong
            with a label.
        ImplausibleError: with ``job.strict``, a label does not look like its organ.
        CancelledError: cancelled.
    """
    given, guard = volume, Guard(volume, files, job, notice, parts or {})
    volume = guard.volume
    patient = RefinedPatient(volume, names={label: read_info(file)[0].organ for label, file in files.items()})
    present = _licensed(patient, _present_labels(patient, volume, files, job.strict), job)
    points = JobPoints.of(job)
    organs = _refined_organs(patient, volume, present, job, device, progress, notice, guard)
    for label, shape in points.applied({label: organ.shape for label, organ in organs.items()}, job).items():
        organs[label] = replace(organs[label], shape=shape)
    if not organs:
        return patient
    progress.stage("voxels", 0.85)
    # A scan is many times as large as its organs: what changes is worked out on the part around them.
    box = _box_of(volume, {label: organ.shape for label, organ in organs.items()})
    given, before = given.cropped(box), volume.cropped(box)
    if job.suggestions:
        patient.suggestions = suggestion_volume(volume, {label: organ.shape for label, organ in organs.items()})
    after, organs = _agreed(patient, before, organs, job)
    patient.volume = volume.pasted(box, after)
    for index, (label, organ) in enumerate(organs.items()) if job.surface or job.report else ():
        progress.stage("mesh", 0.9 + 0.08 * index / len(organs))
        patient.surfaces[label] = patient.shapes[label].surface(organ.surface_cell_mm)

    def report(label: Label) -> OrganReport:
        return organ_report(label, organs[label], given, after, patient.surfaces.get(label))

    patient.organs = tuple(together(report, list(organs)))
    return patient


def tell(patients: Iterable[RefinedPatient], source: Path, notice: Callable[[str], None]) -> None:
    """Tell the user which organs of a file or folder stay as they are; of a single one the error is raised.

    Raises:
        BadInputError, ImplausibleError: no organ was refined.
    """
    patients = tuple(patients)
    refined = sum(len(patient.organs) for patient in patients)
    errors = [error for patient in patients for error in patient.errors.values()]
    left = [one for patient in patients for one in patient.not_refined]
    if not refined and len({str(error) for error in errors}) == 1:
        raise errors[0]
    restricted = [one.organ for one in left if one.code == NON_COMMERCIAL]
    if refined and restricted:
        notice(left_for_licence(restricted))
        left = [one for one in left if one.code != NON_COMMERCIAL]
    for one in left:
        about = {"label": one.label, "organ": one.organ, "status": one.status, "reason": one.reason, "error": one.code}
        notice(Notice("{organ} stays as it is ({status}): {reason}", NOT_REFINED, **about))
    if not refined:
        kind = ImplausibleError if any(isinstance(error, ImplausibleError) for error in errors) else BadInputError
        listed = ", ".join(f"{one.organ} {one.said()}" for one in left)
        words, hint = "No organ of {input} could be refined: {organs}", "check labels and templates"
        raise kind(words, hint, "organ.none", input=source, organs=listed)


def report_of(patients: Iterable[RefinedPatient], job: RefineJob, seconds: float) -> RefineReport:
    """The report of one run, over the volumes of a file or folder."""
    patients = tuple(patients)
    organs = tuple(organ for patient in patients for organ in patient.organs)
    left = tuple(one for patient in patients for one in patient.not_refined)
    files = str(job.input), str(job.output)
    image = str(job.image) if job.image else None
    return RefineReport(*files, job.preset, job.seed, seconds, peak_memory_mb(), organs, left, image)


def label_fields(volume: LabelVolume, label: Label) -> dict[str, Any]:
    """The fields of an error that is about one label."""
    return {"subject": label_subject(label, volume.source), "label": label, "input": volume.source}


def _licensed(patient: RefinedPatient, files: dict[Label, Path], job: RefineJob) -> dict[Label, Path]:
    """The labels whose template and networks may be used; without the user's word others are left where the program
    chose them, and are an error where the user did."""
    if job.non_commercial:
        return files
    allowed, errors = {}, {}
    for label, file in files.items():
        try:
            check_licences([file], job.restoration, job.sparse)
            allowed[label] = file
        except BadInputError as error:
            errors[label] = error
            if error.code != NON_COMMERCIAL:
                raise
    if errors and (job.strict or not allowed or AUTO not in job.templates.values()):
        check_licences(files.values(), job.restoration, job.sparse)
    patient.errors.update(errors)
    return allowed


def _present_labels(
    patient: RefinedPatient, volume: LabelVolume, files: Mapping[Label, Path], strict: bool
) -> dict[Label, Path]:
    """The labels that have voxels enough for an organ; each of the others becomes an error of the patient."""
    seen: dict[tuple[int, int], Label] = {}
    present = {}
    for which, file in files.items():
        try:
            place = volume.locate(which)
        except BadInputError as error:
            patient.failed(which, error.about(label=which), strict)
            continue
        if place in seen:
            words = "'{first}' and '{label}' are the same segment of {input}"
            fields = {"first": seen[place], "label": which, "input": volume.source}
            raise BadInputError(words, "name it once", "label.twice", **fields)
        seen[place] = which
        _, count = volume.extent(which)
        if not count:
            words = "{subject} is empty, it has no voxels"
            empty = BadInputError(words, "choose another", NO_VOXELS, **label_fields(volume, which))
            patient.failed(which, empty, strict)
        elif count < FEWEST_VOXELS:
            words = "{subject} has only {count} voxels, too few for an organ"
            told = {**label_fields(volume, which), "count": count}
            patient.failed(which, BadInputError(words, "choose another", "label.few_voxels", **told), strict)
        else:
            present[which] = file
    return present


def _refined_organs(
    patient: RefinedPatient,
    volume: LabelVolume,
    files: Mapping[Label, Path],
    job: RefineJob,
    device: Device,
    progress: Progress | ProgressPart,
    notice: Callable[[str], None],
    guard: Guard,
) -> dict[Label, RefinedOrgan]:
    """``RefinedOrgan`` of each label; two at once on the processor where there is memory for it."""

    def refined(index: int, label: Label) -> RefinedOrgan | Exception:
        part = progress.part(0.05 + 0.8 * index / len(files), 0.05 + 0.8 * (index + 1) / len(files))
        try:
            guard.before(label)
            organ = refine_label(volume, label, files[label], job, device, part, notice)
            return replace(organ, shape=guard.after(label, organ.shape))
        except Exception as error:  # noqa: BLE001 - becomes the organ's reason
            patient.failed(label, error, job.strict)
            return error

    roomy = device.name == "cpu" and not job.low_memory and free_memory_bytes() > _MEMORY_FOR_TWO_BYTES
    at_once = min(2, threads()) if roomy and len(files) > 1 else 1
    limit_cpu_threads(at_once=at_once)
    organs = dict(zip(files, together(refined, range(len(files)), list(files), at_once=at_once), strict=True))
    return {label: organ for label, organ in organs.items() if isinstance(organ, RefinedOrgan)}


def _agreed(
    patient: RefinedPatient, before: LabelVolume, organs: dict[Label, RefinedOrgan], job: RefineJob
) -> tuple[LabelVolume, dict[Label, RefinedOrgan]]:
    """The volume after the organs agreed on who has which voxels, and those of which something is left."""
    while organs:
        shapes = {label: organ.shape for label, organ in organs.items()}
        wholes = {label: whole_of(organ) for label, organ in organs.items()}
        after, patient.shapes = agree(before, shapes, job.keep_union, wholes)
        gone = [label for label in organs if not after.mask(label).any()]
        if not gone:
            return after, organs
        for label in gone:
            words, hint = "Nothing is left of {subject}", "check label and template"
            error = BadInputError(words, hint, "label.nothing_left", **label_fields(before, label))
            patient.failed(label, error, job.strict)
            del organs[label]
    patient.shapes = {}
    return before, organs


def _box_of(volume: LabelVolume, shapes: Mapping[Label, RefinedShape]) -> tuple[slice, slice, slice]:
    """The (k, j, i) box that holds the given labels and all that their refined shapes may cover."""
    boxes = [volume.extent(label)[0] for label in shapes]
    covered = (volume.geometry.box_around(shape.bounds_ras) for shape in shapes.values())
    boxes += [box for box in covered if all(along.stop > along.start for along in box)]
    return box_of_boxes(boxes)
