"""Charts of a study: every input before and after, and how far each method moves the metrics."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ReShapeITLib.io.atomic import atomic_path

from .families import file_word
from .statistics import LARGER_IS_BETTER, Pairs, names_of, pairs
from .study import INPUT
from .table import SHOWN

PLOTTED = ("hd95_mm", "dsc", "cd")
_BETTER, _WORSE = "#2b7a4b", "#b5402f"
_DOTS_PER_INCH = 110


def write_plots(rows: list[dict], folder: Path, shown: str) -> dict[str, list[Path]]:
    """Write before_after_FAMILY.png and change_FAMILY.png; returns the files of each family.

    Args:
        rows: as ``run_study`` returns them.
        folder: for the files.
        shown: the method whose inputs are drawn one by one.

    Raises:
        ImportError: matplotlib is not installed.
        BadInputError: a file cannot be written.
    """
    written: dict[str, list[Path]] = {}
    for family in names_of(rows, "family"):
        methods = [name for name in names_of(rows, "method") if name != INPUT]
        told = {name: pairs(rows, family, name) for name in methods}
        told = {name: one for name, one in told.items() if len(one.patients)}
        if not told:
            continue
        written[family] = [folder / f"{word}_{file_word(family)}.png" for word in ("before_after", "change")]
        one = shown if shown in told else next(iter(told))
        plot_before_after(told[one], f"{family}: {one}", written[family][0])
        plot_changes(told, family, written[family][1])
    return written


def plot_before_after(told: Pairs, title: str, path: Path) -> None:
    """A line for each input from its value before to that after, one panel for each plotted metric."""
    figure, panels = _figure(4.2 * len(PLOTTED), 4.2)
    for panel, metric in zip(panels, PLOTTED, strict=True):
        name, factor = SHOWN[metric]
        before, after = factor * told.before[metric], factor * told.after[metric]
        for old, new in zip(before, after, strict=True):
            is_worse = new < old if metric in LARGER_IS_BETTER else new > old
            panel.plot([0, 1], [old, new], "-o", color=_WORSE if is_worse else _BETTER, alpha=0.6, ms=3, lw=1)
        panel.plot([0, 1], [before.mean(), after.mean()], "-s", color="black", ms=6, lw=2, label="mean")
        panel.set_xticks([0, 1], ["before", "after"])
        panel.set_xlim(-0.25, 1.25)
        panel.set_ylabel(name)
    panels[0].legend(loc="best", frameon=False)
    _write(figure, title, path)


def plot_changes(told: dict[str, Pairs], title: str, path: Path) -> None:
    """A box of the changes against the input for each method, one panel for each plotted metric."""
    figure, panels = _figure(len(PLOTTED) * (2.2 + 0.5 * len(told)), 5.0)
    for panel, metric in zip(panels, PLOTTED, strict=True):
        name, factor = SHOWN[metric]
        places = np.arange(len(told))
        panel.boxplot([factor * (one.after[metric] - one.before[metric]) for one in told.values()], positions=places)
        panel.set_xticks(places, list(told), rotation=90)
        panel.axhline(0.0, color="grey", lw=1, zorder=0)
        better = "up" if metric in LARGER_IS_BETTER else "down"
        panel.set_ylabel(f"change of {name} (better: {better})")
    _write(figure, title, path)


def _figure(width_inches: float, height_inches: float):
    """A figure that no window and no global state knows of, and its panels side by side."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_inches, height_inches), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, len(PLOTTED))


def _write(figure, title: str, path: Path) -> None:
    figure.suptitle(title)
    with atomic_path(path, ".png") as temporary:
        figure.savefig(temporary, format="png", dpi=_DOTS_PER_INCH)
