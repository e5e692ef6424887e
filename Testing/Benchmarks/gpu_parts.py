"""What :mod:`Testing.Benchmarks.gpu` measures: start-up, refinements, their voxels beside the processor's, training."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from ReShapeITLib.core.labels import LabelVolume
from ReShapeITLib.core.progress import Progress
from ReShapeITLib.distance.narrow_band import extract_zero_level
from ReShapeITLib.io.volumes import read_labels, write_labels
from ReShapeITLib.job.demo import sample_field
from ReShapeITLib.job.job import run_refine_job
from ReShapeITLib.job.request import RefineJob
from ReShapeITLib.templates.store import find_template
from Testing.Benchmarks.bench_refine import LOBES, drawn, drawn_apart, placed, real_lobes
from Testing.Benchmarks.measuring import rounded

EPOCHS = 200  # of the paper
_APART = "each lobe drawn from its own template, the five apart from each other: nothing is contested"
_REAL = "five lobes of a patient of the development data"
_STARTED = "import sys; from Testing.Benchmarks.gpu_parts import first_refinements; first_refinements(*sys.argv[1:])"


@dataclass(frozen=True)
class Case:
    """An input on disk.

    Args:
        file: label volume.
        templates: name of the template of each label.
        told: what was drawn, for the report.
    """

    file: Path
    templates: dict[int, str]
    told: str

    def job(self, output: Path, preset: str, device: str) -> RefineJob:
        """From this file to another one."""
        return RefineJob(
            self.file, self.templates, output, preset=preset, device=device, force=True, non_commercial=True
        )


class Clock:
    """The time there is.

    Args:
        minutes: from now on.
    """

    def __init__(self, minutes: float):
        self.end = time.monotonic() + 60.0 * minutes

    @property
    def left_s(self) -> float:
        """Seconds that are left."""
        return self.end - time.monotonic()

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """Progress of a refinement that is cancelled when the time is over."""
        progress = Progress("none")
        timer = threading.Timer(max(self.left_s, 0.0), progress.cancel)
        timer.daemon = True
        timer.start()
        try:
            yield progress
        finally:
            timer.cancel()


@dataclass(eq=False)
class Bench:
    """One run of the benchmark.

    Args:
        device: "cuda", or "cpu" to try the script out.
        folder: for inputs and outputs.
        clock: ends what takes too long.
        rounds: refinements after the first one.
        shapes: of the training.
        training_s: budget of the training's steps.
    """

    device: str
    folder: Path
    clock: Clock
    rounds: int
    shapes: int
    training_s: float

    @property
    def small(self) -> bool:
        """True where the script is tried out: smaller volumes, batches and networks' rounds."""
        return self.device == "cpu"

    @cached_property
    def pancreas(self) -> Case:
        """A drawn, damaged pancreas."""
        return self._organ("pancreas")

    @cached_property
    def liver(self) -> Case:
        """A drawn, damaged liver."""
        return self._organ("liver")

    @cached_property
    def five_lobes(self) -> Case:
        """A patient's five lobes, or, without the development data, five drawn ones."""
        real = None if self.small else real_lobes()
        templates = {4 + index: f"lung_{lobe}" for index, lobe in enumerate(LOBES)}
        return Case(
            self._written(real or drawn_apart([f"lung_{lobe}" for lobe in LOBES], 4), "five_lobes"),
            templates,
            _REAL if real else _APART,
        )

    def _organ(self, organ: str) -> Case:
        told = "drawn from the template's shape space and damaged"
        return Case(self._written(drawn(organ), organ), {1: organ}, told)

    def _written(self, volume: LabelVolume, name: str) -> Path:
        file = self.folder / f"{name}.nii.gz"
        if not self.small:
            return placed(volume, file)
        write_labels(volume, file)
        return file

    def output(self, preset: str, organ: str, device: str) -> Path:
        """File of a refined input."""
        return self.folder / f"{preset}_{organ}_{device}.nii.gz"

    def startup(self) -> dict:
        """Seconds from the start of a process to its first answer and to its second one."""
        case, output = self.pancreas, self.folder / "startup.nii.gz"
        command = [sys.executable, "-c", _STARTED, str(case.file), case.templates[1], str(output), self.device]
        start = time.time()
        process = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=max(self.clock.left_s, 1.0)
        )
        if process.returncode:
            raise RuntimeError(process.stderr.strip()[-300:])
        at = json.loads(process.stdout.splitlines()[-1])
        figures = {
            "imports_s": at["imported"] - start,
            "first_answer_s": at["first"] - start,
            "second_refinement_s": at["second"] - at["first"],
        }
        return {name: rounded(value) for name, value in figures.items()}

    def refinement(self, preset: str, organ: str) -> dict:
        """Wall seconds from file to file in this process, the first time and afterwards, and peak GPU memory."""
        import torch

        case, output, seconds = getattr(self, organ), self.output(preset, organ, self.device), []
        if self.device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        for _ in range(1 + self.rounds):
            if seconds and self.clock.left_s < 1.5 * seconds[-1]:
                break
            told: list[str] = []
            with self.clock.progress() as progress:
                start = time.perf_counter()
                result = run_refine_job(case.job(output, preset, self.device), progress, told.append)
                seconds.append(time.perf_counter() - start)
        peak = rounded(torch.cuda.max_memory_allocated() / 2**20) if self.device == "cuda" else None
        used = sorted({organ.device for organ in result.report.organs})
        return {
            "input": case.told,
            "first_s": rounded(seconds[0]),
            "wall_s": rounded(statistics.median(seconds[1:] or seconds)),
            "rounds": max(1, len(seconds) - 1),
            "gpu_memory_mb": peak,
            "computed_on": used,
            "organs": len(result.report.organs),
            "stages_s": stages(result.report.organs),
            "notices": [str(sentence) for sentence in told],
        }

    def on_processor(self, preset: str, organ: str) -> dict:
        """The same on the processor, once, and Dice of its voxels against those of the device."""
        case, output = getattr(self, organ), self.folder / f"{preset}_{organ}_processor.nii.gz"
        with self.clock.progress() as progress:
            start = time.perf_counter()
            run_refine_job(case.job(output, preset, "cpu"), progress)
            seconds = time.perf_counter() - start
        mine, theirs = (read_labels(file) for file in (self.output(preset, organ, self.device), output))
        return {"cpu_wall_s": rounded(seconds), **agreement(mine, theirs, list(case.templates))}

    def training(self) -> dict:
        """Steps of the paper's configuration for the time there is; an epoch shows each shape once."""
        from ReShapeITLib.training.config import CONFIG_PRESETS
        from ReShapeITLib.training.data import TrainingSet
        from ReShapeITLib.training.loop import Trainer

        config = replace(CONFIG_PRESETS["paper"], organ="pancreas")
        optimiser = replace(config.optimiser, shapes_per_step=min(config.optimiser.shapes_per_step, self.shapes))
        if self.small:
            optimiser = replace(optimiser, surface_points=100, free_points=100, template_resolution=16)
        config = replace(config, optimiser=optimiser)
        data = TrainingSet(drawn_shapes(self.shapes, self.device, 32 if self.small else 64), self.device)
        trainer = Trainer(data, config, self.folder / "training", self.device)
        steps_per_epoch = self.shapes / optimiser.shapes_per_step
        if self.device == "cuda":
            import torch

            torch.cuda.reset_peak_memory_stats()
        first = [trainer.train_step()["sdf"] for _ in range(2 if self.small else 10)]
        warm_up, wanted = trainer.step, round(EPOCHS * steps_per_epoch)
        start = time.perf_counter()
        budget = min(self.training_s, self.clock.left_s - 5.0)
        while trainer.step < wanted and (trainer.step == warm_up or time.perf_counter() - start < budget):
            last = trainer.train_step()["sdf"]  # the terms come back as numbers: the device has done the step
        taken, steps = time.perf_counter() - start, trainer.step - warm_up
        per_epoch = taken / steps * steps_per_epoch
        return {
            "shapes": self.shapes,
            "points_of_a_step": optimiser.shapes_per_step * (optimiser.surface_points + optimiser.free_points),
            "steps_per_epoch": steps_per_epoch,
            "steps_measured": steps,
            "epochs_run": rounded(trainer.step / steps_per_epoch),
            "all_epochs_run": trainer.step >= wanted,
            "step_s": rounded(taken / steps),
            "epoch_s": rounded(per_epoch),
            f"{EPOCHS}_epochs_s": rounded(EPOCHS * per_epoch),
            "sdf_loss": [rounded(first[0]), rounded(last)],
            "gpu_memory_mb": self._peak_of_training(),
        }

    def _peak_of_training(self) -> float | None:
        import torch

        return rounded(torch.cuda.max_memory_allocated() / 2**20) if self.device == "cuda" else None


def first_refinements(file: str, template: str, output: str, device: str) -> None:
    """Refine a file twice in this process and print when imports, first and second answer were there."""
    at = {"imported": time.time()}
    job = Case(Path(file), {1: template}, "").job(Path(output), "draft", device)
    for name in ("first", "second"):
        run_refine_job(job)
        at[name] = time.time()
    print(json.dumps(at))


def drawn_shapes(n: int, device: str, resolution: int) -> list:
    """Samples of ``n`` patients drawn from the pancreas's shape space; ``resolution``: cells along the longest edge."""
    from ReShapeITLib.core.mesh import TriangleSurface
    from ReShapeITLib.templates.template import OrganTemplate
    from ReShapeITLib.training.sampling import SamplingOptions, sample_shape, unit_sphere_normalisation

    template, shapes = OrganTemplate.load(find_template("pancreas")).to(device), []
    for seed in range(n):
        patient = sample_field(template, seed)
        surface = TriangleSurface.from_triangles(*extract_zero_level(patient.sdf_mm, patient.bounds_ras, resolution))
        options, rng = SamplingOptions(n_surface=20_000, n_free=4_000), np.random.default_rng(seed)
        shapes.append(sample_shape(surface, unit_sphere_normalisation(surface), options, rng, f"drawn_{seed}"))
    return shapes


def stages(organs) -> dict[str, float]:
    """Seconds of each stage, summed over the organs."""
    names = dict.fromkeys(name for organ in organs for name in organ.seconds)
    return {name: rounded(sum(organ.seconds.get(name, 0.0) for organ in organs)) for name in names}


def agreement(mine: LabelVolume, theirs: LabelVolume, labels: list[int]) -> dict:
    """Smallest Dice over the labels of two volumes on one grid, and how many voxels differ in all."""
    dice, differ = [], 0
    for label in labels:
        a, b = mine.mask(label), theirs.mask(label)
        dice.append(2.0 * np.count_nonzero(a & b) / max(1, np.count_nonzero(a) + np.count_nonzero(b)))
        differ += int(np.count_nonzero(a ^ b))
    return {"dice": round(float(min(dice)), 6), "voxels_that_differ": differ}
