"""Where the image-derived surface is kept and where the fitted field wins.

A fitted field cannot reproduce detail that it was not trained on, and the given surface came from the image. So the
given surface stands wherever the field agrees with it to within a tolerance, and only where the two contradict each
other by more (a bite, a leak, a stray island, a missing part) does the field take over, with a smooth transition.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from ..core.geometry import ImageGeometry
from ..distance.combinators import BlendedField
from ..distance.surface import DistanceGrid

# Median fit residual above which a fitted field is trusted less: 0.4 mm of a pancreas.
TYPICAL_FIT_RESIDUAL_UNIT = 0.0045


@dataclass(frozen=True)
class BlendOptions:
    """When the field wins. The lengths hold for an organ whose unit is 90 mm long (a pancreas); see :meth:`scaled`.

    They were chosen on real predictions of ten patients that neither training nor evaluation has seen: within about
    a tenth of a unit length the field of an unseen organ is less to be believed than a network that saw the image.
    Attached parts are removed only much further out: networks seldom invent them, and the tails of pancreases differ.

    Args:
        add_mm: distance from the given organ at which a part of the field's organ is believed to be missing there.
        add_most_mm: a missing part that reaches further from the given organ than this is not believed: it is rather an
            organ of another form, or one whose other part was removed.
        add_depth_mm: how deep inside the field's organ such a part must lie.
        remove_mm: distance outside the field's organ at which a part of the given one is believed wrong.
        island_mm: the same for separate pieces, which are judged as a whole: a piece is believed wrong where all but
            a tenth of it lies further out than this.
        skin_mm: contradictions thinner than this never count as part of a believed one, so that it does not creep
            along the surface.
        transition_mm: width of the smooth transition around a believed contradiction.
        cell_mm: spacing of the working grid, for organs up to one and a half times that size.
    """

    add_mm: float = 10.0
    add_most_mm: float = 35.0
    add_depth_mm: float = 4.0
    remove_mm: float = 30.0
    island_mm: float = 9.0
    skin_mm: float = 3.0
    transition_mm: float = 4.0
    cell_mm: float = 2.0

    def scaled(self, mm_per_unit: float, alignment_z: float, fit_residual_unit: float) -> BlendOptions:
        """Tolerances for another organ's size, and wider ones where the field explains the given organ badly.

        Args:
            mm_per_unit: size of the organ.
            alignment_z: how much worse than the training cases it aligns, in standard deviations.
            fit_residual_unit: median distance of its surface to the fitted field, unit lengths. Damage leaves it
                small, because most of the surface is right; an organ that the template does not know does not.
        """
        caution = max(1.0, alignment_z, fit_residual_unit / TYPICAL_FIT_RESIDUAL_UNIT)
        size = mm_per_unit / 90.0
        tolerances = ("add_mm", "add_depth_mm", "remove_mm", "island_mm")
        lengths = {name: size * caution * getattr(self, name) for name in tolerances}
        # Whole multiples of the cell: an organ twice as long needs no eightfold number of cells.
        cell_mm = self.cell_mm * max(1, round(size))
        return replace(self, add_most_mm=size * self.add_most_mm, cell_mm=cell_mm, **lengths)


def field_weight(given_mm: np.ndarray, fitted_mm: np.ndarray, cell_mm: float, options: BlendOptions) -> np.ndarray:
    """Weight of the fitted field, 0 where the given surface is kept and 1 where the field wins.

    Args:
        given_mm, fitted_mm: (K, J, I) signed distances of both on a cubic grid with spacing ``cell_mm``.
    """
    inside = given_mm < 0
    missing = (given_mm > options.skin_mm) & (fitted_mm < 0)
    surely_missing = (given_mm > options.add_mm) & (fitted_mm < -options.add_depth_mm)
    wrong = inside & (fitted_mm > options.skin_mm)
    missing &= ~_pieces_with(missing, given_mm > options.add_most_mm)
    contradicted = _pieces_with(missing, surely_missing) | _pieces_with(wrong, fitted_mm > options.remove_mm)
    weight = np.zeros(given_mm.shape, dtype=np.float32)
    if contradicted.any():
        distance_mm = ndimage.distance_transform_edt(~contradicted, sampling=cell_mm)
        weight = np.clip(1.0 - (distance_mm - options.skin_mm) / options.transition_mm, 0.0, 1.0).astype(np.float32)
    # An island goes alone: what it lies beside stays as it was.
    return np.maximum(weight, ndimage.binary_dilation(_false_islands(inside, fitted_mm, options.island_mm)))


def main_piece(fitted_mm: np.ndarray, given_mm: np.ndarray) -> np.ndarray:
    """The fitted distances with every piece made outside but the one that holds most of the given organ.

    A template is one connected organ, so whatever else a fitted field encloses is not part of it.
    """
    pieces, _ = ndimage.label(fitted_mm < 0)
    overlap = np.bincount(pieces[given_mm < 0])
    overlap[:1] = 0
    return np.where(pieces == overlap.argmax(), fitted_mm, np.abs(fitted_mm)) if overlap.any() else fitted_mm


def _pieces_with(region: np.ndarray, core: np.ndarray) -> np.ndarray:
    """The connected pieces of a region that hold a voxel of its core."""
    pieces, n_pieces = ndimage.label(region)
    kept = np.zeros(n_pieces + 1, dtype=bool)
    kept[np.unique(pieces[core & region])] = True
    kept[0] = False
    return kept[pieces]


def _false_islands(given: np.ndarray, fitted_mm: np.ndarray, island_mm: float) -> np.ndarray:
    """Voxels of the separate pieces, other than the largest, that lie outside the field's organ."""
    pieces, n_pieces = ndimage.label(given, structure=np.ones((3, 3, 3)))
    sizes = np.bincount(pieces.ravel(), minlength=n_pieces + 1)[1:]
    false = np.zeros(n_pieces + 1, dtype=bool)
    for piece, box in enumerate(ndimage.find_objects(pieces), start=1):
        if piece != 1 + int(sizes.argmax()):
            inside = pieces[box] == piece
            false[piece] = np.percentile(fitted_mm[box][inside], 10) > island_mm
    return false[pieces]


def working_geometry(lower_ras: np.ndarray, upper_ras: np.ndarray, cell_mm: float) -> ImageGeometry:
    """A cubic grid along the RAS axes that covers a box."""
    size = np.ceil((np.asarray(upper_ras) - lower_ras) / cell_mm).astype(int) + 1
    return ImageGeometry.from_parts(size, (cell_mm,) * 3, lower_ras)


def grid_points(geometry: ImageGeometry) -> np.ndarray:
    """(K * J * I, 3) RAS mm of all voxel centres, in the order of a raveled [k, j, i] array."""
    k, j, i = np.indices(geometry.shape_kji).reshape(3, -1)
    return geometry.ijk_to_ras_points(np.stack([i, j, k], axis=1))


# None of 283 whole organs has a piece more than 8 mm away, and of the pieces of real predictions that are so small and
# so far away hardly any is true.
SMALL_COMPONENT_SHARE = 0.03
SMALL_COMPONENT_GAP_MM = 12.0


def without_small_components(
    mask: np.ndarray, geometry: ImageGeometry, field: BlendedField, distance_of: Callable[..., DistanceGrid]
) -> BlendedField:
    """The field without what is left of components that it mostly removes (the weight's grid may be coarser), and
    without small components apart from the largest around which it adds nothing.

    Args:
        mask: (K, J, I) bool of the given organ.
        geometry: of the mask.
        field: blended from the mask's distance.
        distance_of: makes a signed distance of a mask and its geometry.
    """
    pieces, n_pieces = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    sizes = np.bincount(pieces.ravel(), minlength=n_pieces + 1)
    sizes[0] = 0
    main = int(sizes.argmax())
    where = np.argwhere(mask & (pieces != main))
    if not len(where):
        return field
    owner = pieces[tuple(where.T)]
    left = np.bincount(owner, field.sdf_mm(geometry.ijk_to_ras_points(where[:, ::-1])) < 0, minlength=n_pieces + 1)
    removed = (left > 0) & (left < 0.5 * sizes)
    small = np.flatnonzero((left > 0) & ~removed & (sizes < SMALL_COMPONENT_SHARE * sizes[main]))
    boxes = ndimage.find_objects(pieces) if len(small) else []
    for piece in small:
        removed[piece] = _lies_apart(pieces, piece, main, boxes[piece - 1], geometry, field)
    return replace(field, given=distance_of(mask & ~removed[pieces], geometry)) if removed.any() else field


def _lies_apart(
    pieces: np.ndarray, piece: int, main: int, box: tuple[slice, ...], geometry: ImageGeometry, field: BlendedField
) -> bool:
    """Whether a component, which fills that box, is further than ``SMALL_COMPONENT_GAP_MM`` from the main one, and
    nothing of what lies so near to it was added."""
    spacing_kji = geometry.spacing_mm[::-1]
    margins = np.ceil(SMALL_COMPONENT_GAP_MM / spacing_kji).astype(int)
    around = tuple(slice(max(0, s.start - m), s.stop + m) for s, m in zip(box, margins, strict=True))
    part = pieces[around]
    near = ndimage.distance_transform_edt(part != piece, spacing_kji) <= SMALL_COMPONENT_GAP_MM
    if (near & (part == main)).any():
        return False
    free = np.argwhere(near & (part == 0)) + [s.start for s in around]
    # At the piece's own smooth surface a voxel beside it may lie inside.
    return bool((field.sdf_mm(geometry.ijk_to_ras_points(free[:, ::-1])) > -0.5 * max(spacing_kji)).all())
