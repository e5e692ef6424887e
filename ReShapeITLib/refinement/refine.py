"""From a given mask and an organ template to the refined organ: the whole way of DESIGN in one function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from ..core.errors import BadInputError
from ..core.geometry import ImageGeometry, Similarity
from ..core.mesh import TriangleSurface
from ..core.progress import Progress
from ..distance.between_slices import DrawnSlices
from ..distance.coarse_grid import coarse_behind
from ..distance.narrow_band import extract_zero_level, label_mask
from ..distance.smooth import is_coarse, smooth_distance_grid
from ..distance.surface import (
    CleaningReport,
    DistanceGrid,
    SurfaceOptions,
    bounding_crop,
    clean_mask,
    signed_distance_grid,
    surface_from_grid,
)
from ..interaction.alignment import Alignment, AlignmentOptions, align_to_template
from ..interaction.candidates import CandidateOptions, Candidates, draw_surface_points, select_candidates
from ..interaction.fitting import FitOptions, FittedField, PendingFit, fit_field
from ..restoration.belief import BeliefOptions
from ..restoration.detail import Detail, expected_detail
from ..restoration.model import RestorationModel
from ..templates.template import OrganTemplate, TemplateInfo
from .blending import (
    BlendedField,
    BlendOptions,
    field_weight,
    grid_points,
    main_piece,
    without_crumbs,
    working_geometry,
)
from .completion import in_shape_space, likeliest_between, likeliest_in_doubt, trusting_contours
from .healing import Healed, believing, heal, healed_candidates, without_far_pieces
from .plausibility import Plausibility, check_plausibility
from .truncation import OpenEnds, find_open_ends


@dataclass(frozen=True)
class RefineOptions:
    """Everything a refinement can be told; :data:`REFINE_PRESETS` holds the three that users choose from.

    Args:
        surface: smoothing of the given mask, islands and cavities.
        alignment: CPD to the template.
        restoration_passes: how often the restoration network is asked; each time but the first in the frame that the
            organ it restored before leads to.
        restoration_poses: in how many slightly different poses it is asked.
        belief: when that network is believed against the given organ.
        candidates: which points TIM keeps.
        fit: steps of the fit.
        blend: when the field wins over the given surface, where there is no restoration network.
        sparse: the organ was drawn on some parallel slices only; the rest is to be found.
        surface_cell_mm: cell size of the extracted surface.
        seed: of every draw.
    """

    surface: SurfaceOptions = field(default_factory=SurfaceOptions)
    # The starts that expect a cut-off organ would stretch the template over an organ that is small by nature.
    alignment: AlignmentOptions = field(
        default_factory=lambda: AlignmentOptions(starts=("centroid", "box", "expected"))
    )
    restoration_passes: int = 2
    restoration_poses: int = 4
    belief: BeliefOptions = field(default_factory=BeliefOptions)
    candidates: CandidateOptions = field(default_factory=CandidateOptions)
    fit: FitOptions = field(default_factory=FitOptions)
    blend: BlendOptions = field(default_factory=BlendOptions)
    sparse: bool = False
    surface_cell_mm: float = 1.5
    seed: int = 0


REFINE_PRESETS = {
    "draft": RefineOptions(
        surface=SurfaceOptions(target_spacing_mm=2.0),
        restoration_passes=1,
        restoration_poses=2,
        fit=FitOptions(code_steps=30, weight_steps=30, weight_learning_rate=4e-4),
        blend=BlendOptions(cell_mm=3.0),
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
        blend=BlendOptions(cell_mm=1.5),
        surface_cell_mm=1.0,
    ),
}


@dataclass(frozen=True, eq=False)
class RefinedShape:
    """A refined organ: a signed distance that can be asked at any RAS point, and how it came about.

    Args:
        field: blended distance of given surface and fitted field.
        fit: of the patient's field, see :attr:`fitted`.
        alignment: similarity to the template's frame and matching confidence.
        bounds_ras: lower and upper corner of a box that holds the organ.
        given_surface: the given organ's surface.
        cleaning: what was dropped or filled before anything else.
        plausibility: whether the given organ looks like the template's organ.
        detailed: a network was asked what the given organ's coarse voxels hide.
    """

    field: BlendedField
    fit: PendingFit
    alignment: Alignment
    bounds_ras: tuple[np.ndarray, np.ndarray]
    given_surface: TriangleSurface
    cleaning: CleaningReport
    plausibility: Plausibility
    detailed: bool = False

    @property
    def fitted(self) -> FittedField:
        """The patient's field, which also gives the correspondence to the template. Where nothing of the given organ
        is doubted, its surface needs no field, so it is fitted (for some seconds) only when somebody asks for it."""
        return self.fit.field

    def sdf_mm(self, points_ras: np.ndarray) -> np.ndarray:
        """(N,) signed distance in mm, negative inside, at (N, 3) RAS points."""
        return self.field.sdf_mm(points_ras)

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
            raise BadInputError("The refined organ is empty: the input does not fit this template; check the label.")
        return TriangleSurface.from_triangles(vertices, faces).without_specks()

    def mask(self, geometry: ImageGeometry) -> np.ndarray:
        """(K, J, I) bool voxels of any grid whose centres lie inside."""
        return label_mask(self.sdf_mm, geometry, self.bounds_ras)


def refine(
    mask: np.ndarray,
    geometry: ImageGeometry,
    template: OrganTemplate,
    options: RefineOptions | None = None,
    progress: Progress | None = None,
    force: bool = False,
    restoration: RestorationModel | None = None,
    others: Sequence[TemplateInfo] = (),
) -> RefinedShape:
    """Refine one organ.

    Args:
        mask: (K, J, I) bool voxels of the given organ.
        geometry: of the mask.
        template: of that organ, on the device to compute on.
        options: a preset of :data:`REFINE_PRESETS` or one's own.
        progress: told the stages; its cancel check ends the work.
        force: go on although the input does not look like the organ.
        restoration: network that says what of the given organ is to be believed; None leaves that to the agreement
            of given organ and fitted field.
        others: templates of organs that the given one might be instead (``template_store.known_templates``).

    Raises:
        BadInputError: the mask is empty or too small.
        ImplausibleError: volume, shape or alignment are far from all training cases, or the organ looks like one of
            the ``others``, and ``force`` is not set.
        CancelledError: the user cancelled.
    """
    options, progress = options or REFINE_PRESETS["standard"], progress or Progress("none")
    if restoration is not None:
        belief = believing(options.belief, restoration, template.info.organ)
        cavities = replace(options.surface, max_hole_mm3=1000.0 * belief.fill_ml)
        options = replace(options, belief=belief, surface=cavities)
    rng = np.random.default_rng(options.seed)
    progress.stage("surface", 0.0)
    given = _Given.of(mask, geometry, options)
    progress.stage("align", 0.1)
    points, normals = draw_surface_points(given.surface, options.candidates.n_surface, rng)
    alignment_options = alignment_with_scale_prior(options.alignment, template)
    alignment = align_to_template(points, template.points_unit, alignment_options)
    plausibility = check_plausibility(template.info, given.surface, alignment, force, others)
    if restoration is None:
        choose = partial(select_candidates, points, normals, alignment.confidence, given.grid)
        healed = None
    else:
        progress.stage("restore", 0.2)
        given = given.detailed(restoration, template, alignment.ras_to_unit, options.restoration_poses)
        given = given.near(template, alignment.ras_to_unit)
        ask = partial(
            heal,
            restoration,
            template,
            given.grid,
            options=options.belief,
            drawn=given.drawn,
            volume_z=plausibility.volume_z,
            ends=given.open_ends(options.belief.flat_shares),
            poses=options.restoration_poses,
            blur_mm=given.blur_mm,
        )
        healed, alignment = _healed(ask, template, alignment, alignment_options, options, rng)
        choose = partial(healed_candidates, healed)
    fit = partial(_fit, template, choose=choose, options=options, rng=rng, progress=progress)
    if given.drawn is not None:
        field_, fitted = _completed(given.drawn, fit, choose, alignment, healed, options)
        bounds = _box_around(given.surface, given.surface if healed is None else healed.surface)
        return RefinedShape(field_, fitted, alignment, bounds, given.surface, given.cleaning, plausibility)
    if healed is None:
        fitted = PendingFit(partial(fit, alignment))
        fitted.finish()
        progress.stage("blend", 0.8)
        given = given.as_shown()
        field_, bounds = _agreed(given, fitted.field, points, plausibility, options)
    else:
        shape = PendingFit(partial(fit, alignment, options=replace(options, fit=in_shape_space(options.fit))))
        # The patient's own weights, from there on.
        fitted = PendingFit(lambda: fit(shape.field))
        likeliest = _likeliest(healed, shape, fitted, plausibility.volume_z, options, rng)
        progress.stage("blend", 0.8)
        given = given.as_shown()
        field_ = replace(healed.field, given=given.grid, fitted_sdf_mm=likeliest)
        bounds = _box_around(given.surface, healed.surface)
    field_ = without_crumbs(given.kept, given.geometry, field_, given.distance_of)
    return RefinedShape(
        field_, fitted, alignment, bounds, given.surface, given.cleaning, plausibility, given.detail is not None
    )


@dataclass(frozen=True, eq=False)
class _Given:
    """What is known of the given organ; each stage knows more.

    Args:
        image_mask, image: (K, J, I) bool and geometry as given, cropped; where the organ ends at a border, the image
            does.
        mask, geometry: cleaned; on the coarse voxels behind steps where there are such.
        kept: the mask without the pieces that no organ reaches.
        distance_of: makes the signed distance of a mask and its geometry.
        grid: of what is kept.
        surface: of the whole mask.
        cleaning: what was dropped or filled.
        drawn: the slices that the organ was drawn on, between which ``grid`` is interpolated.
        blur_mm: half a voxel where there are steps.
        detail: what coarse voxels hide.
    """

    image_mask: np.ndarray
    image: ImageGeometry
    mask: np.ndarray
    geometry: ImageGeometry
    kept: np.ndarray
    distance_of: Callable[..., DistanceGrid]
    grid: DistanceGrid
    surface: TriangleSurface
    cleaning: CleaningReport
    drawn: DrawnSlices | None = None
    blur_mm: float = 0.0
    detail: Detail | None = None

    @classmethod
    def of(cls, mask: np.ndarray, geometry: ImageGeometry, options: RefineOptions) -> _Given:
        """A (K, J, I) bool mask, cleaned unless it was drawn on a few slices."""
        # A layer of background tells an organ that ends from one that the border of the image cuts.
        start_ijk, image_mask = bounding_crop(mask, geometry, room=1)
        image = geometry.cropped(start_ijk, image_mask.shape[::-1])
        distance_of = partial(signed_distance_grid, options=options.surface)
        if options.sparse:
            drawn = DrawnSlices.of(image_mask, image)
            surface, plain = surface_from_grid(drawn.distance), (image_mask, image)
            return cls(*plain, *plain, image_mask, distance_of, drawn.distance, surface, CleaningReport(), drawn)
        mask, geometry, blur_mm = image_mask, image, 0.0
        bricks = coarse_behind(mask, geometry)
        if bricks is not None:
            (mask, geometry), distance_of = bricks, smooth_distance_grid
            blur_mm = 0.5 * float(geometry.spacing_mm.mean())
        mask, cleaning = clean_mask(mask, geometry, options.surface)
        grid = distance_of(mask, geometry)
        surface = surface_from_grid(grid)
        return cls(image_mask, image, mask, geometry, mask, distance_of, grid, surface, cleaning, None, blur_mm)

    def detailed(
        self, restoration: RestorationModel, template: OrganTemplate, ras_to_unit: Similarity, poses: int
    ) -> _Given:
        """With what coarse voxels hide, where there are such and a network that knows."""
        if not self.blur_mm or restoration.detail is None:
            return self
        edges_mm = self.geometry.spacing_mm
        detail = expected_detail(restoration.detail, template, self.grid, ras_to_unit, edges_mm, poses)
        if detail is None:
            return self
        grid = detail.added_to(self.grid)
        distance_of = partial(_detailed, detail)
        return replace(self, distance_of=distance_of, grid=grid, surface=surface_from_grid(grid), detail=detail)

    def near(self, template: OrganTemplate, ras_to_unit: Similarity) -> _Given:
        """Without the pieces of the mask that no organ reaches."""
        if self.drawn is not None:
            return self
        kept = without_far_pieces(self.mask, self.geometry, template, ras_to_unit)
        if kept.sum() == self.mask.sum():
            return self
        return replace(self, kept=kept, grid=self.distance_of(kept, self.geometry))

    def open_ends(self, least_flat_shares: tuple[float, float]) -> OpenEnds | None:
        """Where the organ was cut off; nowhere where it was drawn on slices."""
        if self.drawn is not None:
            return None
        return find_open_ends(self.image_mask, self.image, self.surface, least_flat_shares)

    def as_shown(self) -> _Given:
        """With the surface that is shown of coarse voxels.

        Only once all is decided: most organs of training were smoothed as fine ones are, and what the network decides
        depends on that.
        """
        if self.blur_mm or not is_coarse(self.geometry.spacing_mm):
            return self
        grid = smooth_distance_grid(self.kept, self.geometry)
        all_kept = self.kept.sum() == self.mask.sum()
        surface = surface_from_grid(grid if all_kept else smooth_distance_grid(self.mask, self.geometry))
        return replace(self, distance_of=smooth_distance_grid, grid=grid, surface=surface)


def _detailed(detail: Detail, mask: np.ndarray, geometry: ImageGeometry) -> DistanceGrid:
    return detail.added_to(smooth_distance_grid(mask, geometry))


def _healed(ask: Callable[..., Healed], template, alignment: Alignment, alignment_options, options, rng):
    """The healed organ and its alignment; ``ask`` heals the given organ in the frame of an alignment."""
    for _ in range(max(1, options.restoration_passes)):
        healed = ask(ras_to_unit=alignment.ras_to_unit)
        points, _ = draw_surface_points(healed.surface, options.candidates.n_surface, rng)
        alignment = align_to_template(points, template.points_unit, alignment_options)
    return healed, alignment


def _fit(
    template,
    start: Alignment | FittedField,
    choose: Callable[..., Candidates],
    options,
    rng,
    progress,
    span=(0.3, 0.5),
) -> FittedField:
    """The field of one patient, from an alignment or from another field on; ``choose`` gives the candidates from an
    alignment, options and a generator.

    ``span`` is the begin and the length of the stage for the progress.
    """
    progress.stage("fit", span[0])
    candidates = choose(start.ras_to_unit, options.candidates, rng)
    return fit_field(
        template,
        candidates,
        start.ras_to_unit,
        replace(options.fit, seed=options.seed),
        lambda done: progress.stage("fit", span[0] + span[1] * done),
        start if isinstance(start, FittedField) else None,
    )


def _likeliest(healed: Healed, shape: PendingFit, fitted: PendingFit, volume_z: float, options: RefineOptions, rng):
    """What the given organ's doubted parts are like, callable from (N, 3) RAS points to (N,) mm."""
    answer, belief = healed.restoration, options.belief
    likeliest = answer.limited(fitted.sdf_mm) if belief.closely else answer.restored.sdf_mm
    if not healed.field.weight.values_mm.any():
        return likeliest
    points, _ = draw_surface_points(healed.surface, options.candidates.n_surface, rng)
    return likeliest_in_doubt(shape.sdf_mm, likeliest, points, healed, volume_z, belief.shapes)


def _agreed(given: _Given, fitted: FittedField, points: np.ndarray, plausibility: Plausibility, options: RefineOptions):
    """The blended field, and the box around it, by the agreement of given organ and fitted field alone."""
    residual_unit = float(np.median(np.abs(fitted.sdf_mm(points)))) / fitted.mm_per_unit
    tolerances = options.blend.scaled(fitted.mm_per_unit, plausibility.alignment_z, residual_unit)
    return blend(given.grid, given.surface, fitted, tolerances)


def _completed(
    drawn: DrawnSlices,
    fit: Callable[..., FittedField],
    choose: Callable[..., Candidates],
    alignment: Alignment,
    healed: Healed | None,
    options: RefineOptions,
) -> tuple[BlendedField, PendingFit]:
    """The organ that was drawn on a few slices: two fits within the shape space, see :mod:`completion`."""
    within = replace(options, fit=in_shape_space(options.fit))

    def trusting(ras_to_unit: Similarity, candidate_options, rng) -> Candidates:
        return trusting_contours(choose(ras_to_unit, candidate_options, rng), drawn, ras_to_unit, rng)

    fits = []
    for chosen, done in ((choose, 0.3), (trusting, 0.55)):
        fits.append(PendingFit(partial(fit, alignment, choose=chosen, options=within, span=(done, 0.25))))
        fits[-1].finish()
    expected = likeliest_between([fit.sdf_mm for fit in fits], drawn, healed)
    everywhere = ImageGeometry.from_parts((1, 1, 1), (1.0, 1.0, 1.0))
    weight = DistanceGrid(np.ones((1, 1, 1), dtype=np.float32), everywhere)
    return BlendedField(drawn.distance, drawn.through_contours(expected), weight), fits[1]


def _box_around(*surfaces: TriangleSurface, margin_mm: float = 4.0) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper corner (RAS mm) of a box that holds all the surfaces."""
    lower = np.min([surface.vertices_ras.min(0) for surface in surfaces], axis=0)
    upper = np.max([surface.vertices_ras.max(0) for surface in surfaces], axis=0)
    return lower - margin_mm, upper + margin_mm


def blend(grid: DistanceGrid, given: TriangleSurface, fitted: FittedField, options: BlendOptions):
    """The blended field of given surface and fitted field, and the box (lower, upper in RAS mm) that holds both."""
    template_box = fitted.ras_to_unit.inverse().apply(1.05 * np.array(np.meshgrid(*[(-1, 1)] * 3)).reshape(3, -1).T)
    lower, upper = given.vertices_ras.min(0), given.vertices_ras.max(0)
    reach = 0.25 * (upper - lower) + 20.0
    # The field may add what is missing, but not beyond where the template can reach.
    lower = np.minimum(lower, np.maximum(lower - reach, template_box.min(0))) - 4.0
    upper = np.maximum(upper, np.minimum(upper + reach, template_box.max(0))) + 4.0
    geometry = working_geometry(lower, upper, options.cell_mm)
    points = grid_points(geometry)
    given_mm = grid.sdf_mm(points).reshape(geometry.shape_kji)
    fitted_mm = fitted.sdf_mm(points).reshape(geometry.shape_kji)
    fitted_mm = main_piece(fitted_mm, given_mm)
    weight = field_weight(given_mm, fitted_mm, options.cell_mm, options)
    return BlendedField(grid, fitted.sdf_mm, DistanceGrid(weight, geometry)), (lower, upper)


def alignment_with_scale_prior(options: AlignmentOptions, template: OrganTemplate) -> AlignmentOptions:
    """The training cases say how large the organ is; without this the template shrinks into a truncated one."""
    log_scales = np.log(template.info.scales_mm)
    spread = max(0.05, float(log_scales.std()))
    return replace(options, expected_scale_mm=float(np.exp(log_scales.mean())), scale_log_sd=spread)
