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
        input: label map or segmentation, or a folder with one mask an organ.
        templates: name or file of the template for each label number, segment id or name, or name of a mask; the key
            None stands for the only label there is. {None: "auto"} takes all organs that are known by their names.
        output: label file on the grid of the input; the extension says the format. May be the input itself. For a
            folder another one, which gets all its files.
        surface: mesh file of the refined organ; of several organs, each gets ``_<label>`` before the extension.
        suggestions: .seg.nrrd file with a segment for each suggestion, see :mod:`~ReShapeITLib.job.pieces.suggested`.
        report: JSON file, see :class:`~ReShapeITLib.job.report.RefineReport`.
        image: that was segmented, a CT: it decides where the surface lies beside the organ's edge.
        include, exclude: files of points (.mrk.json, .csv) that are organ, and that are not.
        overwrite: an output folder that holds files is replaced.
    """

    input: Path
    templates: Mapping[int | str | None, str]
    output: Path
    surface: Path | None = None
    report: Path | None = None
    suggestions: Path | None = None
    image: Path | None = None
    include: Path | None = None
    exclude: Path | None = None
    overwrite: bool = False
