"""From files to files: what ``reshapeit refine``, the demo and the Python console all run."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from ..core.device import Device, choose_device
from ..core.errors import BadInputError
from ..core.labels import LabelVolume
from ..core.progress import Progress, ProgressPart
from ..image.reading import read_image
from ..io.atomic import check_writable
from ..io.mask_folder import check_folder_writable
from ..io.surfaces import surface_file_suffix, write_surface
from ..io.volumes import as_held_by, label_file_suffix, labels_in, read_labels, write_labels
from .folder import refine_folder
from .inputs.by_name import AUTO, files_by_label, named_by
from .inputs.mesh import is_mesh, mesh_volume, with_mesh_output
from .labels import check_labels, parsed_threshold
from .licences import tell_licences
from .pieces.prepared import prepare
from .report import RefineReport
from .request import RefineJob
from .whole_patient import RefinedPatient, refine_patient, report_of, tell

_NO_FILE_NAME = re.compile(r'[\\/:*?"<>|]+')

if TYPE_CHECKING:
    from ..core.mesh import TriangleSurface
    from ..refinement.refined import RefinedShape


@dataclass(frozen=True, eq=False)
class RefineResult:
    """What a job made, for callers that go on with it.

    Args:
        report: as written to the report file.
        volume: as written to the output file; of a folder the masks of the first grid.
        shapes: refined shape of each label, which says what the voxels say.
        surfaces: refined surface of each label; empty where neither surface nor report was asked for.
    """

    report: RefineReport
    volume: LabelVolume
    shapes: dict[int | str, RefinedShape]
    surfaces: dict[int | str, TriangleSurface]


def run_refine_job(
    job: RefineJob,
    progress: Progress | ProgressPart | None = None,
    notice: Callable[[str], None] = lambda text: None,
) -> RefineResult:
    """Read, refine, write.

    Args:
        job: what to do.
        progress: told the stages; its cancel request ends the job before anything is written.
        notice: called with sentences that the user should read (licences, a change of device).

    Raises:
        BadInputError: a file or template is wrong, no organ could be refined, a licence is not accepted, or an output
            cannot be written; with ``job.strict`` also where a label is wrong.
        ImplausibleError: no organ could be refined, because the input does not look like them and ``job.force`` is
            not set; with ``job.strict`` also where one does not.
        CancelledError: cancelled; nothing was written.
    """
    started, progress = time.perf_counter(), progress or Progress("none")
    job = with_mesh_output(replace(job, input=labels_in(job.input)))
    _check_outputs(job)
    progress.stage("read", 0.0)
    if Path(job.input).exists():
        # Loading torch takes longer than unpacking a scan; the two do not wait for each other.
        Thread(target=_load_ahead).start()
    if job.image:
        read_image(job.image)  # what is wrong with it is told before the work; the organs share it
    device = choose_device(job.device)
    if Path(job.input).is_dir():
        folder = refine_folder(job, device, progress, notice)
        patients = folder.patients
    else:
        patients = (_refined_file(job, device, progress, notice),)
    tell(patients, job.input, notice)
    report = report_of(patients, job, time.perf_counter() - started)
    progress.stage("write", 0.98)
    refined = next(patient.volume for patient in patients if patient.volume and patient.organs)
    if Path(job.input).is_dir():
        folder.write(job)
    elif job.output != job.surface:
        write_labels(refined, job.output)
    shapes = {label: shape for patient in patients for label, shape in patient.shapes.items()}
    surfaces = {label: surface for patient in patients for label, surface in patient.surfaces.items()}
    _write_extras(job, surfaces, report)
    if job.suggestions and patients[0].suggestions is not None:
        write_labels(patients[0].suggestions, job.suggestions)
    return RefineResult(report, refined, shapes, surfaces)


def _refined_file(
    job: RefineJob, device: Device, progress: Progress | ProgressPart, notice: Callable[[str], None]
) -> RefinedPatient:
    if is_mesh(job.input):
        volume = mesh_volume(Path(job.input), job.reference or None)
    else:
        volume = read_labels(job.input, parsed_threshold(job.threshold), job.reference or None)
    if AUTO in job.templates.values():
        volume = named_by(volume, job.names)
    check_labels(volume, job.templates)  # before layers become one, and labels get other numbers
    if job.output != job.surface:
        volume = as_held_by(volume, job.output)
    for told in volume.notices:
        notice(told)
    prepared = prepare(volume, job, notice)
    files = files_by_label(prepared.volume, prepared.templates, job.names, notice)
    if job.non_commercial:
        tell_licences(files.values(), job.restoration, job.sparse, notice)
    patient = refine_patient(prepared.volume, files, job, device, progress, notice, prepared.parts)
    if patient.volume is not None:
        patient.volume = prepared.restored(patient.volume)
    return patient


def _load_ahead() -> None:
    with suppress(ImportError):  # told where it is needed
        import_module("..refinement.refine", __package__)


def surface_path(path: Path, label: int | str, n_labels: int) -> Path:
    """Where the surface of one of ``n_labels`` organs goes."""
    path = Path(path)
    name = _NO_FILE_NAME.sub("_", str(label))
    return path if n_labels == 1 else path.with_name(f"{path.stem}_{name}{path.suffix}")


def _check_outputs(job: RefineJob) -> None:
    """Complain about outputs before the work, not after it."""
    if Path(job.input).is_dir():
        check_folder_writable(job.output, job.input, job.overwrite)
    elif job.output != job.surface:
        label_file_suffix(job.output)
        check_writable(job.output)
    if job.surface:
        surface_file_suffix(job.surface)
    if job.suggestions:
        _check_suggestions(job, job.suggestions)
    for path in (job.surface, job.report, job.suggestions):
        if path:
            check_writable(path)
    outputs = [job.surface, job.report, job.suggestions, *([] if job.output == job.surface else [job.output])]
    targets = [Path(p).resolve() for p in outputs if p]
    if len(set(targets)) < len(targets):
        raise BadInputError(
            "{path} is named for two outputs", "give each a file of its own", "output.twice", path=job.output
        )


def _check_suggestions(job: RefineJob, file: Path) -> None:
    if label_file_suffix(file) != ".seg.nrrd":
        raise BadInputError(
            "{output} cannot hold suggestions with their probabilities",
            "write a .seg.nrrd file",
            "suggestions.format",
            output=file,
        )
    if Path(job.input).is_dir() or is_mesh(job.input):
        raise BadInputError(
            "{output} can only be written for one label file",
            "leave --suggestions out, or give one label file",
            "suggestions.together",
            output=file,
        )


def _write_extras(job: RefineJob, surfaces: Mapping[int | str, TriangleSurface], report: RefineReport) -> None:
    if job.surface:
        for label, surface in surfaces.items():
            write_surface(surface, surface_path(job.surface, label, len(report.organs) + len(report.not_refined)))
    if job.report:
        report.write(job.report)
