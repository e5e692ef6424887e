"""From files to files: what ``reshapeit refine``, the demo and the Python console all run."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from ..core.device import choose_device
from ..core.errors import BadInputError
from ..core.labels import LabelVolume
from ..core.progress import Progress, ProgressPart
from ..io.atomic import check_writable
from ..io.surfaces import surface_file_suffix, write_surface
from ..io.volumes import label_file_suffix, read_labels, write_labels
from .by_name import files_by_label
from .report import RefineReport
from .request import RefineJob
from .whole_patient import RefinedPatient, refine_patient, report_of, tell

if TYPE_CHECKING:
    from ..core.mesh import TriangleSurface
    from ..refinement.refined import RefinedShape


@dataclass(frozen=True, eq=False)
class RefineResult:
    """What a job made, for callers that go on with it.

    Args:
        report: as written to the report file.
        volume: as written to the output file.
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
    _check_outputs(job)
    progress.stage("read", 0.0)
    if Path(job.input).is_file():
        # Loading torch takes longer than unpacking a scan; the two do not wait for each other.
        Thread(target=_load_ahead).start()
    volume = _fitting_layers(read_labels(job.input), job.output)
    files = files_by_label(volume, job.templates, job.names, notice)
    patient = refine_patient(volume, files, job, choose_device(job.device), progress, notice)
    tell([patient], job.input, notice)
    report = report_of([patient], job, time.perf_counter() - started)
    progress.stage("write", 0.98)
    write_labels(patient.volume, job.output)
    _write_extras(job, patient, report)
    return RefineResult(report, patient.volume, patient.shapes, patient.surfaces)


def _load_ahead() -> None:
    with suppress(ImportError):  # told where it is needed
        import_module("..refinement.refine", __package__)


def surface_path(path: Path, label: int | str, n_labels: int) -> Path:
    """Where the surface of one of ``n_labels`` organs goes."""
    path = Path(path)
    return path if n_labels == 1 else path.with_name(f"{path.stem}_{label}{path.suffix}")


def _check_outputs(job: RefineJob) -> None:
    """Complain about outputs before the work, not after it."""
    label_file_suffix(job.output)
    check_writable(job.output)
    if job.surface:
        surface_file_suffix(job.surface)
    for path in (job.surface, job.report):
        if path:
            check_writable(path)
    targets = [Path(p).resolve() for p in (job.output, job.surface, job.report) if p]
    if len(set(targets)) < len(targets):
        raise BadInputError(f"{job.output} is named for two outputs; give each a file of its own.")


def _write_extras(job: RefineJob, patient: RefinedPatient, report: RefineReport) -> None:
    if job.surface:
        for label, surface in patient.surfaces.items():
            write_surface(surface, surface_path(job.surface, label, len(patient.names)))
    if job.report:
        report.write(job.report)


def _fitting_layers(volume: LabelVolume, output: Path) -> LabelVolume:
    """The volume as the output format can hold it; says at once where segments overlap and it cannot."""
    if len(volume.layers) == 1 or label_file_suffix(output) == ".seg.nrrd":
        return volume
    segments = tuple(replace(segment, layer=0) for segment in volume.segments)
    return LabelVolume((volume.flattened(),), volume.geometry, segments, volume.header, volume.source)
