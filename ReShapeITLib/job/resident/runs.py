"""Results of refinements that are kept in memory, and what is decided about them afterwards."""

from __future__ import annotations

import gc
import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.device import free_cached_memory, return_freed_memory
from ...core.errors import BadInputError
from ...core.geometry import box_of_boxes
from ...core.labels import LabelVolume, Segment
from ...distance.protocol import box_around
from ...image.reading import read_image
from ...io.surfaces import surface_file_suffix, write_surface
from ...io.volumes import label_file_suffix
from ..models import forget_loaded, refine_options
from ..report import suggestion_entries
from .quick_files import write_quickly

if TYPE_CHECKING:
    from ...refinement.clicks.redecided import Edit
    from ...refinement.refined import Point, RefinedShape
    from ..job import RefineResult
    from ..request import RefineJob

Label = int | str
MOST_RUNS = 4
_MOST_CHOICES = 24  # earlier answers about an organ, from which the next one goes on


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a user decided about one organ of a run; it counts from the refinement on, not from the last decision.

    Args:
        taken: numbers of the suggestions to take; None: those of ``boldness``, or else the run's own.
        boldness: a name or a probability as text, see ``Calibration.least``.
        include, exclude: points (r, a, s) in mm that are organ, and that are not.
    """

    taken: frozenset[int] | None = None
    boldness: str = ""
    include: tuple[Point, ...] = ()
    exclude: tuple[Point, ...] = ()


@dataclass(eq=False)
class KeptRun:
    """One refinement.

    Args:
        job: what was asked for.
        result: what came of it.
        choices: edited organs by label and what was decided, the last ones.
    """

    job: RefineJob
    result: RefineResult
    choices: OrderedDict[tuple, Edit] = field(default_factory=OrderedDict)

    def prepare(self) -> None:
        """Work out what later decisions need."""
        from ...refinement.clicks.redecided import prepared

        self.result.shapes.update({label: prepared(shape) for label, shape in self.result.shapes.items()})

    def label(self, organ: Label) -> Label:
        """The label of an organ as the run knows it.

        Raises:
            BadInputError: it was not refined.
        """
        found = [label for label in self.result.shapes if str(label) == str(organ)]
        if not found:
            known = ", ".join(map(str, self.result.shapes))
            words, hint = "Nothing was refined under the label {label}", "choose from {known}"
            raise BadInputError(words, hint, "kept.unknown_organ", label=organ, known=known)
        return found[0]

    def decided(self, label: Label, decision: Decision) -> Edit:
        """The organ as it was decided; what was asked before and is a part of it is not worked out again.

        Raises:
            BadInputError: a suggestion is unknown, or the points contradict each other or the organ.
        """
        from ...refinement.clicks.points import edited
        from ...refinement.clicks.redecided import Edit, redecided

        shape = self.result.shapes[label]
        taken = self._taken(shape, decision)
        include, exclude = frozenset(decision.include), frozenset(decision.exclude)
        known = self._known(label, taken, include, exclude)
        if known is None:
            done: tuple[frozenset[Point], frozenset[Point]] = frozenset(), frozenset()
            start = redecided(Edit(shape), taken)
            self._keep((label, taken, *done), start)
        else:
            done, start = known
        new = [[p for p in points if p not in old] for points, old in zip((include, exclude), done, strict=True)]
        if any(new):
            image = read_image(self.job.image) if self.job.image else None
            # In the order in which they were set, as far as it is told.
            inside = [p for p in decision.include if p in new[0]]
            outside = [p for p in decision.exclude if p in new[1]]
            start = edited(start, inside, outside, image)
            self._keep((label, taken, include, exclude), start)
        return start

    def on_grid(self, label: Label, edit: Edit) -> tuple[LabelVolume, dict[str, Any]]:
        """The organ's voxels, and those it had when it was refined, on a part of the grid; other labels keep theirs.

        Returns:
            A volume whose only label is 1, and ``box``, ``volume_ml``, ``added_ml`` and ``removed_ml`` against the
            organ as it was given.
        """
        box = self._box(label, edit.shape)
        held, own, part = self._held(label, box)
        after = edit.mask(own, part.geometry) & (own | (held == 0))
        told: dict[str, Any] = {"box": _told_box(box), **_against_given(after, part, edit.shape)}
        return LabelVolume((after.astype(np.uint8),), part.geometry, (_segment(1, str(label)),)), told

    def suggestions(self, label: Label) -> tuple[LabelVolume, dict[str, Any]]:
        """Which suggestion would change each voxel, on a part of the grid, and that part."""
        from ...refinement.clicks.redecided import Edit, redecided

        shape = self.result.shapes[label]
        box = self._box(label, shape)
        _, own, part = self._held(label, box)
        layer = np.zeros(part.geometry.shape_kji, dtype=np.uint16)
        entries = shape.suggestions.entries if shape.suggestions else ()
        for entry in entries:
            other = redecided(Edit(shape), shape.taken ^ {entry.number})
            layer[other.mask(own, part.geometry) != own] = entry.number
        segments = tuple(_segment(entry.number, str(entry.number)) for entry in entries)
        return LabelVolume((layer,), part.geometry, segments), {"box": _told_box(box)}

    def _held(self, label: Label, box: tuple[slice, slice, slice]) -> tuple[np.ndarray, np.ndarray, LabelVolume]:
        """(K, J, I) labels of an organ's layer in a box, its own voxels there, and that part of the volume."""
        volume = self.result.volume
        layer, value = volume.locate(label)  # of the whole: its labels are known
        part = volume.cropped(box)
        return part.layers[layer], part.layers[layer] == value, part

    def _taken(self, shape: RefinedShape, decision: Decision) -> frozenset[int]:
        if decision.taken is not None or not decision.boldness or shape.suggestions is None:
            return shape.taken if decision.taken is None else decision.taken
        from ...refinement.decision.calibration import calibration

        return shape.suggestions.likelier_than(calibration().least(decision.boldness))

    def _known(
        self, label: Label, taken: frozenset[int], include: frozenset, exclude: frozenset
    ) -> tuple[tuple[frozenset, frozenset], Edit] | None:
        """The answer about most of these points, and which those are."""
        best = None
        for (which, choice, inside, outside), edit in self.choices.items():
            fits = which == label and choice == taken and inside <= include and outside <= exclude
            if fits and (best is None or len(inside) + len(outside) > len(best[0][0]) + len(best[0][1])):
                best = (inside, outside), edit
        return best

    def _keep(self, key: tuple, edit: Edit) -> None:
        self.choices[key] = edit
        while len(self.choices) > _MOST_CHOICES:
            self.choices.popitem(last=False)

    def _box(self, label: Label, shape: RefinedShape) -> tuple[slice, slice, slice]:
        """The (k, j, i) box that holds the organ before and after."""
        volume = self.result.volume
        bounds = box_around(shape.bounds_ras, self.result.shapes[label].bounds_ras)
        return box_of_boxes([volume.extent(label)[0], volume.geometry.box_around(bounds)])


class KeptRuns:
    """The last refinements of a process, by the name that each was given."""

    def __init__(self, most: int = MOST_RUNS):
        self._most, self._runs = most, OrderedDict[object, KeptRun]()

    def keep(self, name: object, job: RefineJob, result: RefineResult) -> None:
        """Keep a run; the oldest goes where there are too many."""
        self._runs.pop(name, None)
        if Path(job.input).is_dir():  # several grids; there is no review of such
            return
        self._runs[name] = KeptRun(job, result)
        while len(self._runs) > self._most:
            self._runs.popitem(last=False)

    def prepare(self, name: object) -> None:
        """Make a run ready for quick decisions, where it is still kept."""
        run = self._runs.get(name)
        if run is not None:
            run.prepare()

    def run(self, name: object) -> KeptRun:
        """A run.

        Raises:
            BadInputError: it is not kept any more.
        """
        if name not in self._runs:
            words, hint = "The results of refinement {run} are not in memory any more", "refine again"
            raise BadInputError(words, hint, "kept.gone", run=name)
        self._runs.move_to_end(name)
        return self._runs[name]

    def free(self, name: object = None) -> None:
        """Let a run go; None lets all go, with the templates and networks that are loaded."""
        if name is not None:
            self._runs.pop(name, None)
            return
        self._runs.clear()
        forget_loaded()
        gc.collect()
        free_cached_memory()
        return_freed_memory()

    def told(self) -> list[dict[str, Any]]:
        """What is kept: name, input and organs of each run."""
        runs = list(self._runs.items())
        return [{"run": n, "input": str(r.job.input), "organs": [str(x) for x in r.result.shapes]} for n, r in runs]

    def decide(self, name: object, organ: Label, decision: Decision, output: Path, surface: Path | None) -> dict:
        """Decide about an organ and write its voxels, and its surface where that is asked for.

        Raises:
            BadInputError: run, organ, suggestion, points or output are wrong.
        """
        started = time.perf_counter()
        label_file_suffix(output)
        if surface:
            surface_file_suffix(surface)
        run = self.run(name)
        label = run.label(organ)
        edit = run.decided(label, decision)
        shape = edit.shape
        voxels, told = run.on_grid(label, edit)
        write_quickly(voxels, output)
        if surface:
            write_surface(shape.surface(refine_options(run.job).surface_cell_mm), surface)
        told |= {"output": str(output), "taken": sorted(shape.taken), "suggestions": suggestion_entries(shape)}
        return told | {"seconds": round(time.perf_counter() - started, 3)}

    def suggestions(self, name: object, organ: Label, output: Path) -> dict:
        """Write which suggestion would change each voxel of an organ.

        Raises:
            BadInputError: run, organ or output are wrong.
        """
        label_file_suffix(output)
        run = self.run(name)
        label = run.label(organ)
        voxels, told = run.suggestions(label)
        write_quickly(voxels, output)
        return told | {"output": str(output), "suggestions": suggestion_entries(run.result.shapes[label])}


def points_of(values: object) -> tuple[Point, ...]:
    """Points as programs give them.

    Raises:
        BadInputError: they are no list of three finite numbers each.
    """
    try:
        points = np.array(list(values) if isinstance(values, Iterable) else None, dtype=np.float64)
        if points.size == 0:
            return ()
        if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
            raise ValueError("not three finite numbers each")
    except (TypeError, ValueError) as error:
        words, hint = "The points are no list of [r, a, s] in mm ({reason})", "give three numbers for each"
        raise BadInputError(words, hint, "points.malformed", reason=error) from error
    return tuple((float(r), float(a), float(s)) for r, a, s in points)


def _told_box(box: tuple[slice, slice, slice]) -> dict[str, list[int]]:
    return {"start_ijk": [s.start for s in box[::-1]], "size_ijk": [s.stop - s.start for s in box[::-1]]}


def _segment(label: int, name: str) -> Segment:
    return Segment(label, name, name, (0.4, 0.7, 0.4), 0)


def _against_given(after: np.ndarray, part: LabelVolume, shape: RefinedShape) -> dict[str, float]:
    """Volumes (mL) of the organ, and what came and went since it was given."""
    given = shape.decided.given
    ml = part.geometry.voxel_volume_mm3 / 1000.0
    start = np.rint(part.geometry.ras_to_ijk_points(given.image.origin_ras[None])[0]).astype(int)[::-1]
    before = np.zeros_like(after)
    sizes = zip(start, after.shape, given.image_mask.shape, strict=True)
    target = [slice(max(0, s), max(0, min(n, s + m))) for s, n, m in sizes]
    source = [slice(max(0, -s), max(0, -s) + t.stop - t.start) for s, t in zip(start, target, strict=True)]
    before[tuple(target)] = given.image_mask[tuple(source)]
    counts = {"volume_ml": after, "added_ml": after & ~before, "removed_ml": before & ~after}
    return {name: round(float(np.count_nonzero(mask)) * ml, 4) for name, mask in counts.items()}
