"""Cases x families x methods, measured in parallel; each row is kept as soon as it is there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from ReShapeITLib.core.progress import Progress
from ReShapeITLib.templates.store import find_template

from .inputs import check_inputs, training_organs, variants
from .measure import Job, MethodMaker
from .methods import Method, make_methods
from .pool import run_here, run_in_pool
from .rows import ROWS_FILE, check_settings, read_rows, row_key
from .study import INPUT, Study

_REFINEMENTS = ("reshapeit", "field")  # what the study's preset and seed are for


def study_methods(study: Study) -> dict[str, Method]:
    """The methods of a study by label, ready to use."""
    template = find_template(study.template or study.organ)
    shared = {"preset": study.preset, "seed": study.seed}
    entries = [
        {"name": entry.name, "as": entry.label, **(shared if entry.name in _REFINEMENTS else {}), **entry.options}
        for entry in study.methods
    ]
    training = training_organs(study) if study.training else None
    return make_methods(entries, study.organ, template, training, study.restoration)


def run_study(
    study: Study,
    folder: Path,
    workers: int = 1,
    progress: Progress | None = None,
    methods_of: MethodMaker = study_methods,
) -> list[dict]:
    """Measure what has not been measured yet; returns all rows of the study in the order of the study.

    Args:
        study: what to measure.
        folder: of ``rows.jsonl``; made if absent. Rows that are there are kept.
        workers: processes; one does without another process.
        progress: told every row.
        methods_of: makes the methods of the study, once in each worker; a function of a module.

    Raises:
        BadInputError: a file is missing or wrong, or the folder holds rows of another study.
        CancelledError: the user cancelled; the rows so far are there.
    """
    progress = progress or Progress("none")
    folder.mkdir(parents=True, exist_ok=True)
    check_inputs(study)
    check_settings(study, folder)
    rows = read_rows(folder / ROWS_FILE)
    jobs = open_jobs(study, {row_key(row) for row in rows})
    total = sum(len(job.methods) for job in jobs)
    run = run_here if workers == 1 else run_in_pool
    made = run(study, jobs, methods_of, min(workers, max(1, len(jobs))), progress.check_cancelled)
    with open(folder / ROWS_FILE, "a", encoding="utf-8") as file, closing(made):
        for done, row in enumerate(made, start=1):
            file.write(json.dumps(row, allow_nan=False) + "\n")
            file.flush()
            rows.append(row)
            progress.stage("evaluate", done / total, " ".join(filter(None, row_key(row))))
    order = {key: index for index, key in enumerate(all_keys(study))}
    return sorted((row for row in rows if row_key(row) in order), key=lambda row: order[row_key(row)])


def all_keys(study: Study) -> Iterator[tuple[str, str, str, str]]:
    """The key of every row of a study, in its order."""
    for family in study.families:
        for case in study.cases:
            for variant in variants(family):
                for method in (INPUT, *(entry.label for entry in study.methods)):
                    yield case, family.name, variant, method


def open_jobs(study: Study, done: set[tuple[str, str, str, str]]) -> list[Job]:
    """What is left to do where the rows ``done`` are there, one job for each input."""
    families = {family.name: family for family in study.families}
    methods: dict[tuple[str, str, str], list[str]] = {}
    for key in all_keys(study):
        if key not in done:
            methods.setdefault(key[:3], []).append(key[3])
    return [Job(case, families[name], variant, tuple(m)) for (case, name, variant), m in methods.items()]
