"""Components of the given organ that go whatever else is decided: out of reach of any organ, or small and far apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy import ndimage

from ..core.geometry import ImageGeometry, Similarity
from ..distance.combinators import BlendedField, Cuboid, Difference
from ..distance.surface import DistanceGrid
from ..restoration.grid import CanonicalGrid
from ..templates.template import OrganTemplate

# None of 283 whole organs has a piece more than 8 mm away, and of the pieces of real predictions that are so small and
# so far away hardly any is true.
SMALL_COMPONENT_SHARE = 0.03
SMALL_COMPONENT_GAP_MM = 12.0
_ROOM_VOXELS = 2  # a surface lies less than a voxel beyond the outermost centres


def without_components_out_of_reach(
    mask: np.ndarray, geometry: ImageGeometry, template: OrganTemplate, ras_to_unit: Similarity
) -> np.ndarray:
    """The mask without the components that lie wholly outside the template's surroundings; the largest always stays.

    The network does not see them, and no organ reaches there.
    """
    pieces, n_pieces = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    if n_pieces < 2:
        return mask
    grid = CanonicalGrid.around(template.points_unit)
    where = np.argwhere(mask)
    unit = ras_to_unit.apply(geometry.ijk_to_ras_points(where[:, ::-1]))
    lower = np.array(grid.lower_unit)
    upper = lower + grid.cell_unit * (np.array(grid.shape_zyx[::-1]) - 1)
    near = ((unit > lower) & (unit < upper)).all(axis=1)
    owner = pieces[tuple(where.T)]
    sizes = np.bincount(owner, minlength=n_pieces + 1)
    kept = np.bincount(owner[near], minlength=n_pieces + 1) > 0
    kept[sizes.argmax()] = True
    return mask & kept[pieces]


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
    boxes = ndimage.find_objects(pieces) if len(small) or removed.any() else []
    for piece in small:
        removed[piece] = _lies_apart(pieces, piece, main, boxes[piece - 1], geometry, field)
    if not removed.any():
        return field
    kept, given = mask & ~removed[pieces], field.given
    for piece in np.flatnonzero(removed):
        start, stop = np.array([(s.start - _ROOM_VOXELS, s.stop + _ROOM_VOXELS) for s in boxes[piece - 1]]).T
        if kept[tuple(slice(max(0, a), b) for a, b in zip(start, stop, strict=True))].any():
            return replace(field, given=distance_of(kept, geometry))
        # A piece by itself goes with its surroundings; the distance of the rest is not worked out anew.
        given = Difference(given, Cuboid(geometry.cropped(start[::-1], (stop - start)[::-1].tolist())))
    return replace(field, given=given)


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
