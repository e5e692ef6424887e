"""What a job is asked to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .options import RefineSettings


@dataclass(frozen=True)
class RefineJob(RefineSettings):
    """What to refine, where to put it, and the options of :class:`~ReShapeITLib.job.options.RefineSettings`.

    Args:
        input: label map or segmentation.
        templates: name or file of the template for each label number, segment id or name; the key None stands for
            the only label there is.
        output: label file on the grid of the input; the extension says the format. May be the input itself.
        surface: mesh file of the refined organ; of several organs, each gets ``_<label>`` before the extension.
        report: JSON file, see :class:`~ReShapeITLib.job.report.RefineReport`.
    """

    input: Path
    templates: Mapping[int | str | None, str]
    output: Path
    surface: Path | None = None
    report: Path | None = None
