"""From files to files: what ``reshapeit refine``, the demo and the Python console all run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from ..core.device import Device, choose_device, free_memory_bytes, limit_cpu_threads
from ..core.errors import BadInputError, label_subject
from ..core.labels import LabelVolume
from ..core.parallel import threads, together
from ..core.progress import Progress, ProgressPart
from ..io.atomic import check_writable
from ..io.surfaces import surface_file_suffix, write_surface
from ..io.volumes import label_file_suffix, read_labels, write_labels
from ..refinement.several_organs.agreement import agree
from ..templates.store import find_template
from .licences import check_licences
from .organ import RefinedOrgan, organ_report, refine_label, whole_of
from .report import RefineReport, peak_memory_mb
from .request import RefineJob

if TYPE_CHECKING:
    from ..core.mesh import TriangleSurface
    from ..refinement.refined import RefinedShape

FEWEST_VOXELS = 64
_MEMORY_FOR_TWO_BYTES = 6 * 2**30  # two lobes of 0.6 mm voxels at once take 4 GB


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
        BadInputError: a file, label or template is wrong, a licence is not accepted, or an output cannot be written.
        ImplausibleError: the input does not look like the organ and ``job.force`` is not set.
        CancelledError: cancelled; nothing was written.
    """
    started, progress = time.perf_counter(), progress or Progress("none")
    _check_outputs(job)
    progress.stage("read", 0.0)
    if Path(job.input).is_file():
        # Loading torch takes longer than unpacking a scan; the two do not wait for each other.
        Thread(target=_load_ahead).start()
    volume = _fitting_layers(read_labels(job.input), job.output)
    files = {label: find_template(name) for label, name in _chosen_labels(volume, job.templates).items()}
    if not job.non_commercial:
        check_licences(files.values(), job.restoration, job.sparse)
    device = choose_device(job.device)
    organs = _refined_organs(volume, files, job, device, progress, notice)
    progress.stage("voxels", 0.85)
    shapes = {label: organ.shape for label, organ in organs.items()}
    # A scan is many times as large as its organs: what changes is worked out on the part around them.
    box = _box_of(volume, shapes)
    before = volume.cropped(box)
    wholes = {label: whole_of(organ) for label, organ in organs.items()}
    after, shapes = agree(before, shapes, job.keep_union, wholes)
    _check_that_something_is_left(after, shapes)
    refined = volume.pasted(box, after)
    surfaces = {}
    for index, (label, organ) in enumerate(organs.items()) if job.surface or job.report else ():
        progress.stage("mesh", 0.9 + 0.08 * index / len(organs))
        surfaces[label] = shapes[label].surface(organ.surface_cell_mm)
    reports = tuple(organ_report(name, organ, before, after, surfaces.get(name)) for name, organ in organs.items())
    spent = time.perf_counter() - started
    report = RefineReport(str(job.input), str(job.output), job.preset, job.seed, spent, peak_memory_mb(), reports)
    progress.stage("write", 0.98)
    _write(job, refined, surfaces, report)
    return RefineResult(report, refined, shapes, surfaces)


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


def _write(job: RefineJob, refined: LabelVolume, surfaces: Mapping, report: RefineReport) -> None:
    write_labels(refined, job.output)
    if job.surface:
        for label, surface in surfaces.items():
            write_surface(surface, surface_path(job.surface, label, len(surfaces)))
    if job.report:
        report.write(job.report)


def _refined_organs(
    volume: LabelVolume,
    files: Mapping[int | str, Path],
    job: RefineJob,
    device: Device,
    progress: Progress | ProgressPart,
    notice: Callable[[str], None],
) -> dict[int | str, RefinedOrgan]:
    """``RefinedOrgan`` of each label; two at once on the processor where there is memory for it."""

    def refined(index: int, label: int | str) -> RefinedOrgan:
        part = progress.part(0.05 + 0.8 * index / len(files), 0.05 + 0.8 * (index + 1) / len(files))
        return refine_label(volume, label, files[label], job, device, part, notice)

    roomy = device.name == "cpu" and not job.low_memory and free_memory_bytes() > _MEMORY_FOR_TWO_BYTES
    at_once = threads() if roomy and len(files) > 1 else 1
    limit_cpu_threads(at_once=at_once)
    run = together if at_once > 1 else map
    return dict(zip(files, run(refined, range(len(files)), list(files)), strict=True))


def _fitting_layers(volume: LabelVolume, output: Path) -> LabelVolume:
    """The volume as the output format can hold it; says at once where segments overlap and it cannot."""
    if len(volume.layers) == 1 or label_file_suffix(output) == ".seg.nrrd":
        return volume
    segments = tuple(replace(segment, layer=0) for segment in volume.segments)
    return LabelVolume((volume.flattened(),), volume.geometry, segments, volume.header, volume.source)


def _chosen_labels(volume: LabelVolume, templates: Mapping) -> dict[int | str, str]:
    """Template name of each label to refine, every label checked."""
    chosen: dict[int | str, str] = {}
    seen: dict[tuple[int, int], int | str] = {}
    for asked, name in templates.items():
        which = _only_label(volume) if asked is None else asked
        place = volume.locate(which)
        if place in seen:
            raise BadInputError(f"'{seen[place]}' and '{which}' are the same segment of {volume.source}; name it once.")
        seen[place] = which
        _, count = volume.extent(which)
        if not count:
            raise _label_error("{subject} is empty, it has no voxels", "label.empty", volume, which)
        if count < FEWEST_VOXELS:
            message = "{subject} has only {count} voxels, too few for an organ"
            raise _label_error(message, "label.few_voxels", volume, which, count=count)
        chosen[which] = name
    return chosen


def _label_error(
    message: str, code: str, volume: LabelVolume, label: int | str, hint: str = "choose another", **more: Any
) -> BadInputError:
    """A BadInputError about one label."""
    subject = label_subject(label, volume.source)
    return BadInputError(message, hint, code, subject=subject, label=label, input=volume.source, **more)


def _only_label(volume: LabelVolume) -> int:
    labels = volume.label_values()
    if len(labels) > 1:
        shown = ", ".join(map(str, labels[:20])) + (", ..." if len(labels) > 20 else "")
        raise BadInputError(
            "{input} holds several labels ({labels})",
            "choose one with --label N, or several with --template N=NAME,N=NAME",
            "label.several",
            input=volume.source,
            labels=shown,
        )
    return volume.single_label()


def _box_of(volume: LabelVolume, shapes: Mapping) -> tuple[slice, slice, slice]:
    """The (k, j, i) box that holds the given labels and all that their refined shapes may cover."""
    boxes = [volume.extent(label)[0] for label in shapes]
    covered = (volume.geometry.box_around(shape.bounds_ras) for shape in shapes.values())
    boxes += [box for box in covered if all(along.stop > along.start for along in box)]
    k, j, i = (slice(min(s.start for s in along), max(s.stop for s in along)) for along in zip(*boxes, strict=True))
    return k, j, i


def _check_that_something_is_left(refined: LabelVolume, labels: Iterable) -> None:
    for label in labels:
        if not refined.mask(label).any():
            raise _label_error(
                "Nothing is left of {subject}", "label.nothing_left", refined, label, "check label and template"
            )
