"""The options of a refinement and the presets that users choose from."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..distance.surface import SurfaceOptions
from ..interaction.alignment import AlignmentOptions, check_backend
from ..interaction.candidates import CandidateOptions
from ..interaction.options import FitOptions


@dataclass(frozen=True)
class RefineOptions:
    """Everything a refinement can be given; :data:`REFINE_PRESETS` holds the three that users choose from.

    Args:
        surface: smoothing of the given mask, islands and cavities.
        alignment: CPD to the template.
        alignment_backend: "cpd" (this library's, with priors) or "pycpd" (the pycpd package, without); takes the place
            of ``alignment.backend``.
        restoration_passes: how often the restoration network is asked; each time but the first in the frame that the
            organ it restored before leads to.
        restoration_poses: in how many slightly different poses it is asked.
        boldness: how likely a change must be: a name in the calibration, or a probability as text.
        candidates: which points TIM keeps.
        fit: steps of the fit.
        sparse: the mask is a sparse annotation on parallel slices; the rest of the organ is to be found.
        surface_cell_mm: cell size of the extracted surface.
        seed: of every draw.
    """

    surface: SurfaceOptions = field(default_factory=SurfaceOptions)
    # The starts that expect a cut-off organ would stretch the template over an organ that is small by nature.
    alignment: AlignmentOptions = field(
        default_factory=lambda: AlignmentOptions(starts=("centroid", "box", "expected"))
    )
    alignment_backend: str = "cpd"
    restoration_passes: int = 2
    restoration_poses: int = 4
    boldness: str = "balanced"
    candidates: CandidateOptions = field(default_factory=CandidateOptions)
    fit: FitOptions = field(default_factory=FitOptions)
    sparse: bool = False
    surface_cell_mm: float = 1.5
    seed: int = 0

    def __post_init__(self):
        check_backend(self.alignment_backend)


REFINE_PRESETS = {
    "draft": RefineOptions(
        surface=SurfaceOptions(target_spacing_mm=2.0),
        restoration_passes=1,
        restoration_poses=2,
        fit=FitOptions(code_steps=30, weight_steps=30, weight_learning_rate=4e-4),
        surface_cell_mm=2.0,
    ),
    "standard": RefineOptions(),
    "fine": RefineOptions(
        fit=FitOptions(
            code_steps=80,
            weight_steps=150,
            surface_points=1000,
            free_points=500,
            weight_learning_rate=2e-4,
        ),
        surface_cell_mm=1.0,
    ),
}
