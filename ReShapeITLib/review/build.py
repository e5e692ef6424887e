"""From cases to the page: measure all, order them worst first, draw the pictures, write one HTML file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..core.errors import CancelledError, ReShapeITError
from ..core.progress import Progress
from ..io.atomic import atomic_path, check_writable
from .cases import ReviewCase
from .measures import told, worst_first
from .page import page_html
from .reviewed import Reviewed

DETAILS = 100


def write_review(
    cases: list[ReviewCase], path: Path, title: str, details: int = DETAILS, progress: Progress | None = None
) -> list[Reviewed]:
    """Write a page about cases by way of a temporary file; returns what it shows, the worst first.

    What is wrong with one case is told in its row and section and harms no other.

    Args:
        cases: as ``find_cases`` returns them.
        path: HTML file.
        title: heading.
        details: so many cases, the worst, have a section with pictures; all are in the table.
        progress: told the stages.

    Raises:
        BadInputError: the file cannot be written.
        CancelledError: cancelled; nothing was written.
    """
    progress = progress or Progress("none")
    check_writable(path)
    # The order depends on numbers that only the voxels tell, so pictures are drawn for all and kept for the worst.
    reviewed: list[Reviewed] = []
    for index, case in enumerate(cases):
        progress.stage("cases", 0.95 * index / len(cases), case.name)
        reviewed.append(review_case(case))
        reviewed = _ordered(reviewed, details)
    progress.stage("write", 0.95)
    text = page_html(reviewed, title)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return reviewed


def review_case(case: ReviewCase) -> Reviewed:
    """Measure and draw one case; whatever goes wrong becomes its ``trouble``."""
    known = Reviewed(case, told(case), trouble=case.failure)
    if case.failure:
        return known
    try:
        return _drawn(case)
    except CancelledError:
        raise
    except ReShapeITError as error:
        return replace(known, trouble=str(error))
    except (ValueError, IndexError, OSError, MemoryError, ArithmeticError) as error:
        return replace(known, trouble=f"It cannot be shown ({type(error).__name__}: {error}).")


def _drawn(case: ReviewCase) -> Reviewed:
    from .measures import measured
    from .pictures import draw_slices, draw_surfaces, draw_thumbnail, moved_surfaces
    from .voxels import change_depth_mm, load_voxels

    voxels = load_voxels(case)
    moved, depth_mm = moved_surfaces(case, voxels), change_depth_mm(voxels)
    return Reviewed(
        case,
        measured(case, voxels, moved.after, moved.on_after_mm, depth_mm),
        thumbnail=draw_thumbnail(moved),
        surfaces=draw_surfaces(moved),
        slices=draw_slices(voxels, depth_mm),
    )


def _ordered(reviewed: list[Reviewed], details: int) -> list[Reviewed]:
    """Worst first, with large pictures for the first only: memory stays bounded however many cases there are."""
    reviewed = sorted(reviewed, key=lambda one: worst_first(one.status, one.measures))
    kept = reviewed[:details]
    return kept + [replace(one, surfaces="", slices="", detailed=False) for one in reviewed[details:]]
