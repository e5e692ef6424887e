"""What a job is asked to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RefineJob:
    """What to refine and where to put it.

    Args:
        input: label map or segmentation.
        templates: name or file of the template for each label number, segment id or name; the key None stands for
            the only label there is.
        output: label file on the grid of the input; the extension says the format. May be the input itself.
        surface: mesh file of the refined organ; of several organs, each gets ``_<label>`` before the extension.
        report: JSON file, see :class:`~ReShapeITLib.job.report.RefineReport`.
        preset: "draft", "standard" or "fine".
        device: "auto", "cpu", "cuda" or "mps"; "auto" goes on on the processor when the GPU runs out of memory.
        seed: of every random draw.
        force: refine although the input does not look like the organ.
        restoration: "auto" for the network that belongs to the template, "none", or a file.
        sparse: the organs were drawn on some parallel slices only, see ``RefineOptions.sparse``.
        keep_union: see :func:`ReShapeITLib.refinement.joint.combine`.
        low_memory: ask the restoration network in smaller parts from the start, not only when the GPU is full.
        non_commercial: the use is non-commercial; templates and networks that are licensed for nothing else are
            refused otherwise.
    """

    input: Path
    templates: Mapping[int | str | None, str]
    output: Path
    surface: Path | None = None
    report: Path | None = None
    preset: str = "standard"
    device: str = "auto"
    seed: int = 0
    force: bool = False
    restoration: str = "auto"
    sparse: bool = False
    keep_union: bool = False
    low_memory: bool = False
    non_commercial: bool = False
