"""What a refinement can be told, apart from which segments and templates."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import RefinementError

PRESETS = ("draft", "standard", "fine")
DEVICES = ("auto", "cpu", "cuda", "mps")

NEW_SEGMENTS = "newSegments"
IN_PLACE = "inPlace"
NEW_SEGMENTATION = "newSegmentation"
RESULT_MODES = (NEW_SEGMENTS, IN_PLACE, NEW_SEGMENTATION)

TAKE_FROM_NEIGHBOURS = "takeFromNeighbours"
KEEP_NEIGHBOURS = "keepNeighbours"
ALLOW_OVERLAP = "allowOverlap"
OVERLAP_POLICIES = (TAKE_FROM_NEIGHBOURS, KEEP_NEIGHBOURS, ALLOW_OVERLAP)


@dataclass(frozen=True)
class RefinementOptions:
    """Options of a refinement.

    :param preset: speed or detail, one of PRESETS.
    :param device: one of DEVICES; "auto" takes CUDA where it works.
    :param resultMode: where the refined organs go, one of RESULT_MODES.
    :param overlapPolicy: what happens where a refined organ reaches into a segment that is not refined, one of
        OVERLAP_POLICIES. A segment that shares more than half of the smaller of the two with the refined one (a whole
        lung around a lobe, an earlier result) overlaps on purpose and is left alone in any case.
    :param keepUnion: the union of the segments that are refined together stays; only the borders between them move.
    :param force: refine although a segment does not look like the organ.
    :param sparse: the organs were drawn on some parallel slices only.
    :param seed: of every random draw.
    :param nonCommercial: the use is non-commercial; templates and networks for nothing else are refused otherwise.
    :raises RefinementError: a value is not among the choices.
    """

    preset: str = "standard"
    device: str = "auto"
    resultMode: str = NEW_SEGMENTS
    overlapPolicy: str = KEEP_NEIGHBOURS
    keepUnion: bool = False
    force: bool = False
    sparse: bool = False
    seed: int = 0
    nonCommercial: bool = False

    def __post_init__(self):
        choices = {
            "preset": PRESETS,
            "device": DEVICES,
            "resultMode": RESULT_MODES,
            "overlapPolicy": OVERLAP_POLICIES,
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise RefinementError(f"{name} is '{getattr(self, name)}'; choose one of {', '.join(allowed)}.")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise RefinementError(f"seed is {self.seed!r}; give a whole number of at least 0.")

    def arguments(self) -> list[str]:
        """These options as arguments of ``reshapeit refine``; result mode and policy are the scene's business."""
        words = ["--preset", self.preset, "--device", self.device, "--seed", str(self.seed)]
        flags = {
            "--keep-union": self.keepUnion,
            "--force": self.force,
            "--sparse": self.sparse,
            "--non-commercial": self.nonCommercial,
        }
        return words + [flag for flag, wanted in flags.items() if wanted]
