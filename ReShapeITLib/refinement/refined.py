"""The last stage: the refined organ, which answers for its surface and voxels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ..core.errors import BadInputError
from ..core.geometry import ImageGeometry
from ..core.mesh import TriangleSurface
from ..distance.combinators import BlendedField
from ..distance.narrow_band import extract_zero_level, label_voxels
from ..distance.protocol import Box, SignedDistance
from ..distance.surface import CleaningReport
from ..interaction.alignment import Alignment
from ..interaction.fitting import FittedField, PendingFit
from .components import without_small_components
from .decided import Decided
from .decision.suggestions import Suggestion, Suggestions
from .plausibility import Plausibility

Point = tuple[float, float, float]  # r, a, s in mm


@dataclass(frozen=True, eq=False)
class RefinedShape:
    """A refined organ: a signed distance that can be asked at any RAS point, and how it came about.

    Args:
        distance: the refined organ's; ``field``, or what several organs made of it when they agreed.
        field: blended distance of given surface and expected organ.
        fit: of the patient's field, see :attr:`fitted`.
        alignment: similarity to the template's frame and matching confidence.
        bounds_ras: lower and upper corner of a box that holds the organ.
        given_surface: the given organ's surface.
        cleaning: what was dropped or filled before anything else.
        plausibility: whether the given organ looks like the template's organ.
        decided: the stage before, from which another choice goes on.
        detailed: a network was asked what the given organ's coarse voxels hide.
        clicked: what points made beside the suggestions, numbered after them.
        included, excluded: (r, a, s) of all points that a user set; they lie where he said.
    """

    distance: SignedDistance
    field: BlendedField
    fit: PendingFit
    alignment: Alignment
    bounds_ras: Box
    given_surface: TriangleSurface
    cleaning: CleaningReport
    plausibility: Plausibility
    decided: Decided
    detailed: bool = False
    clicked: tuple[Suggestion, ...] = ()
    included: tuple[Point, ...] = ()
    excluded: tuple[Point, ...] = ()
    _voxels: _LastVoxels = field(default_factory=lambda: _LastVoxels(), init=False, repr=False)

    @property
    def suggestions(self) -> Suggestions | None:
        """Where the expected organ contradicts the given one; None for a sparse annotation."""
        healed = self.decided.expected.healed
        return healed.suggestions if healed else None

    @property
    def taken(self) -> frozenset[int]:
        """Numbers of the suggestions that were taken."""
        healed = self.decided.expected.healed
        return healed.taken if healed else frozenset()

    @property
    def fitted(self) -> FittedField:
        """The patient's field, which also gives the correspondence to the template. Where nothing of the given organ
        is doubted, its surface needs no field, so it is fitted (for some seconds) only when somebody asks for it."""
        return self.fit.field

    def sdf_mm(self, points_ras: np.ndarray) -> np.ndarray:
        """(N,) signed distance in mm, negative inside, at (N, 3) RAS points."""
        return self.distance.sdf_mm(points_ras)

    def surface(self, cell_mm: float = 1.5) -> TriangleSurface:
        """Closed surface of the refined organ.

        Point data: ``signed_change_mm`` (how far the surface moved, outward positive), ``confidence`` (matching
        probability of the nearest given point, 0 to 1), ``field_weight`` (0 given surface kept, 1 field's) and
        ``template_coordinates`` (n, 3; unit frame).
        """
        from scipy.spatial import cKDTree

        surface = self.bare_surface(cell_mm)
        points = surface.vertices_ras
        nearest = cKDTree(self.alignment.points_ras).query(points)[1]
        return surface.with_point_data(
            signed_change_mm=self.field.given.sdf_mm(points).astype(np.float32),
            confidence=self.alignment.confidence[nearest].astype(np.float32),
            field_weight=self.field.weight_at(points).astype(np.float32),
            template_coordinates=self.fitted.template_coordinates(points).astype(np.float32),
        )

    def bare_surface(self, cell_mm: float = 1.5) -> TriangleSurface:
        """The same surface, RAS mm, without point data, and so without the fit that template coordinates ask for.

        Raises:
            BadInputError: nothing is left of the organ.
        """
        vertices, faces = extract_zero_level(self.sdf_mm, self.bounds_ras, cell_size=cell_mm)
        if not len(faces):
            raise BadInputError(
                "The refined organ is empty: the input does not fit this template", "check the label", "refined.empty"
            )
        return TriangleSurface.from_triangles(vertices, faces).without_specks()

    def mask(self, geometry: ImageGeometry) -> np.ndarray:
        """(K, J, I) bool voxels of any grid whose centres lie inside."""
        whole, box = np.zeros(geometry.shape_kji, dtype=bool), geometry.box_around(self.bounds_ras)
        if whole[box].size:
            own = geometry.of_box(box)
            part = self._voxels.of(own, lambda: label_voxels(self.sdf_mm, geometry, self.bounds_ras)[0])
            whole[box] = part
        return whole


class _LastVoxels:
    """The voxels that were asked for last: whoever checks an organ and whoever writes it ask for the same ones."""

    def __init__(self) -> None:
        self._last: tuple[tuple, np.ndarray] | None = None

    def of(self, box: ImageGeometry, work_out: Callable[[], np.ndarray]) -> np.ndarray:
        """(K, J, I) bool voxels of a box, worked out where it is not the last one."""
        key, last = (box.shape_kji, *np.round(box.ijk_to_ras, 6).ravel()), self._last
        if last is not None and last[0] == key:
            return np.unpackbits(last[1], count=int(np.prod(box.shape_kji))).reshape(box.shape_kji).view(bool)
        part = work_out()
        self._last = key, np.packbits(part)  # an eighth of the memory
        return part


def refined_shape(decided: Decided) -> RefinedShape:
    """The decided organ without small components far from it; a sparse annotation stays as it is."""
    given, field = decided.given, decided.field
    if given.annotation is None:
        field = without_small_components(given.kept, given.geometry, field, given.distance_of)
    restored = decided.expected.restored
    return RefinedShape(
        distance=field,
        field=field,
        fit=decided.expected.fit,
        alignment=restored.alignment,
        bounds_ras=decided.bounds_ras,
        given_surface=given.surface,
        cleaning=given.cleaning,
        plausibility=restored.aligned.plausibility,
        decided=decided,
        detailed=given.detail is not None,
    )
