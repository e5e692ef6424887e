"""Everything about a study in one page: tables, charts and pictures of the worst cases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ReShapeITLib import __version__
from ReShapeITLib.core.errors import ReShapeITError
from ReShapeITLib.core.progress import Progress
from ReShapeITLib.io.atomic import atomic_path
from ReShapeITLib.job.report import NOTICE
from ReShapeITLib.templates.store import find_template
from ReShapeITLib.templates.template import read_info

from .families import file_word
from .inputs import make_input
from .measure import MethodMaker, distance_as_it_is
from .methods import Method
from .plots import write_plots
from .run import study_methods
from .statistics import HARM_DSC, HARM_HD95, RESAMPLES
from .study import Study
from .table import write_tables

_WORST = 3
_RANGE_MM = (-15.0, 15.0)


def write_report(
    study: Study,
    rows: list[dict],
    folder: Path,
    notice: Callable[[str], None],
    progress: Progress | None = None,
    methods_of: MethodMaker = study_methods,
) -> Path:
    """Write tables, charts, pictures and report.md; returns the path of the latter.

    Args:
        study: whose rows these are.
        rows: as ``run_study`` returns them.
        folder: for the files.
        notice: told what is left out because a package is missing.
        progress: told the stages.
        methods_of: see ``run_study``; the first method is used again for the pictures.

    Raises:
        BadInputError: a file cannot be written.
    """
    progress = progress or Progress("none")
    progress.stage("tables", 0.0)
    parts = [_introduction(study), write_tables(rows, folder, notice)]
    progress.stage("charts", 0.1)
    shown = study.methods[0].label
    try:
        charts = write_plots(rows, folder, shown)
    except ImportError:
        notice("the charts are left out: they need matplotlib, pip install 'ReShapeITLib[plots]'.")
        charts = {}
    pictures = draw_worst(study, rows, folder, progress, methods_of)
    for family in study.families:
        files = [*charts.get(family.name, []), *pictures.get(family.name, [])]
        if files:
            parts.append(f"## Pictures of {family.name}\n\nThe worst cases are those of {shown}, by ASSD.\n")
            parts += [f"![{path.stem}]({path.name})\n" for path in files]
    path = folder / "report.md"
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join([*parts, NOTICE + "\n"]), encoding="utf-8")
    return path


def worst_rows(rows: list[dict], family: str, method: str, n: int = _WORST) -> list[dict]:
    """The rows of a family and method with the largest ASSD, the worst first."""
    measured = [
        row for row in rows if row["family"] == family and row["method"] == method and row.get("assd_mm") is not None
    ]
    return sorted(measured, key=lambda row: -row["assd_mm"])[:n]


def draw_worst(
    study: Study, rows: list[dict], folder: Path, progress: Progress, methods_of: MethodMaker
) -> dict[str, list[Path]]:
    """Draw the worst inputs of the first method in each family, unless a picture is there; files of each family."""
    label = study.methods[0].label
    todo = [(family, row) for family in study.families for row in worst_rows(rows, family.name, label)]
    written: dict[str, list[Path]] = {}
    method = None
    for index, (family, row) in enumerate(todo):
        progress.stage("pictures", 0.2 + 0.8 * index / len(todo), f"{family.name} {row['case']}")
        words = [file_word(word) for word in (label, family.name, row["case"], row["variant"]) if word]
        files = [folder / f"worst_{'_'.join(words)}_{kind}.png" for kind in ("surface", "slices")]
        if not all(path.exists() for path in files):
            method = method or methods_of(replace(study, methods=study.methods[:1]))[label]
            if not _draw(study, row, family, method, files):
                continue
        written.setdefault(family.name, []).extend(files)
    return written


def _draw(study: Study, row: dict, family, method: Method, files: list[Path]) -> bool:
    """Truth, input and result as surfaces, coloured by how far they lie outside the truth, and as outlines."""
    from ReShapeITLib.distance.surface import surface_from_grid
    from ReShapeITLib.pictures.rendering import render_panels
    from ReShapeITLib.pictures.slices import slice_contours

    given = make_input(study, row["case"], family, row["variant"])
    try:
        result = method(given.given.copy(), given.geometry)
        before = surface_from_grid(distance_as_it_is(given.given, given.geometry))
        after = result.surface or surface_from_grid(distance_as_it_is(result.mask, given.geometry))
    except ReShapeITError:  # there is nothing to draw
        return False
    distance = distance_as_it_is(given.truth, given.geometry)
    name = f"{row['case']} {row['variant'] or family.name}, ASSD {row['assd_mm']:.2f} mm"
    panels = [(surface_from_grid(distance), name, None)]
    for title, surface in (("input", before), (row["method"], after)):
        panels.append((surface, title, distance.sdf_mm(surface.vertices_ras)))
    render_panels(panels, ("anterior", "superior"), files[0], scalar_range_mm=_RANGE_MM, label="mm outside the truth")
    masks = {"truth": given.truth, "input": given.given, "refined": result.mask}
    slice_contours(masks, given.geometry, files[1], title=name)
    return True


def _introduction(study: Study) -> str:
    """What was measured, and how to read the tables."""
    file = find_template(study.template or study.organ)
    methods = ", ".join(entry.label for entry in study.methods)
    return (
        f"# Evaluation: {study.organ}\n\n"
        f"{len(study.truths)} cases; methods: {methods}; preset {study.preset}, seed {study.seed}, "
        f"version {__version__}. Template {file.name}, SHA-256 {read_info(file)[2][:16]}. "
        f"NSD at {study.nsd_tolerance_mm:g} mm.\n\n"
        "In brackets: change of the mean against the input, of DSC and NSD in points. Intervals: 95 %, bootstrap of "
        f"the paired mean difference, {RESAMPLES} resamples of patients. Harmed: lost more than {100 * HARM_DSC:g} "
        f"points of DSC or {100 * HARM_HD95:g} % of HD95. Where a method fails its input counts, unchanged.\n"
    )
