"""The pictures of one case as data URIs: surfaces before and after, the change map, slices, a thumbnail."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..core.errors import BadInputError
from ..pictures.rendering import panel_sheet
from ..pictures.shading import PictureStyle, camera_for, render_array, scalar_range
from ..pictures.slices import SliceOptions, slices_through
from .cases import ReviewCase
from .voxels import CaseVoxels, largest_change_ras

if TYPE_CHECKING:
    from ..core.mesh import TriangleSurface

THUMBNAIL_PIXELS = 88
_VIEWS = ("anterior", "superior")
_LEAST_RANGE_MM = 2.0  # smaller changes are shown pale, as what they are


@dataclass(frozen=True, eq=False)
class MovedSurfaces:
    """Surface before and after, and how far each vertex of the one lies from the other.

    Args:
        before, after: in RAS mm.
        on_after_mm: (V,) how far the surface moved outwards to get here.
        on_before_mm: (U,) how far it moved outwards from here: pieces that were removed are deep in the negative.
    """

    before: TriangleSurface
    after: TriangleSurface
    on_after_mm: np.ndarray
    on_before_mm: np.ndarray

    @property
    def range_mm(self) -> tuple[float, float]:
        """Ends of the colour bar."""
        high = max(scalar_range([self.on_after_mm, self.on_before_mm], "signed")[1], _LEAST_RANGE_MM)
        return -high, high


def moved_surfaces(case: ReviewCase, voxels: CaseVoxels) -> MovedSurfaces:
    """The surfaces of a case: the result's own mesh with its change map where it was written, else from its voxels."""
    from ..distance.surface import SurfaceOptions, signed_distance_grid, surface_from_grid

    as_it_is = SurfaceOptions(min_island_mm3=0.0, fill_holes=False)
    distance_before = signed_distance_grid(voxels.before, voxels.geometry, as_it_is)
    distance_after = signed_distance_grid(voxels.after, voxels.geometry, as_it_is)
    before = surface_from_grid(distance_before)
    after, change_mm = _written_surface(case.surface) or (surface_from_grid(distance_after), None)
    if change_mm is None:
        change_mm = distance_before.sdf_mm(after.vertices_ras)
    return MovedSurfaces(before, after, change_mm, -distance_after.sdf_mm(before.vertices_ras))


def _written_surface(path: Path | None) -> tuple[TriangleSurface, np.ndarray] | None:
    """A mesh file's surface and change map; None where there is none, or a mesh of another kind."""
    from ..io.surfaces import read_surface

    if path is None:
        return None
    try:
        surface = read_surface(path)
        change_mm = np.asarray(surface.point_data["signed_change_mm"], dtype=np.float64)
    except (BadInputError, KeyError, ValueError):
        return None
    usable = change_mm.shape == (len(surface.vertices_ras),) and np.isfinite(change_mm).all()
    return (surface, change_mm) if usable else None


def draw_surfaces(moved: MovedSurfaces) -> str:
    """Before, after and change on both, from two sides, with a colour bar."""
    panels = [
        (moved.before, "before", None),
        (moved.after, "after", None),
        (moved.before, "moved from", moved.on_before_mm),
        (moved.after, "moved to", moved.on_after_mm),
    ]
    return data_uri(panel_sheet(panels, _VIEWS, 206, moved.range_mm, label="mm that the surface moved outwards"))


def draw_slices(voxels: CaseVoxels, depth_mm: np.ndarray) -> str:
    """Outlines on one slice of each plane, through the place of the largest change (see ``change_depth_mm``)."""
    masks = {"input": voxels.before, "refined": voxels.after}
    if voxels.truth is not None and voxels.truth.any():
        masks = {"truth": voxels.truth, **masks}
    options = SliceOptions(size_pixels=277, margin_mm=8.0, window=voxels.window)
    point = largest_change_ras(voxels, depth_mm)
    return data_uri(slices_through(masks, voxels.geometry, point, voxels.grey, options), sharp_colours=True)


def draw_thumbnail(moved: MovedSurfaces) -> str:
    """What was there, from the front, with what moved."""
    from PIL import Image

    camera = camera_for([moved.before], "anterior", THUMBNAIL_PIXELS, margin=0.04)
    style = PictureStyle(background_rgb=((250, 250, 249), (250, 250, 249)))
    picture = render_array(moved.before, camera, moved.on_before_mm, moved.range_mm, "signed", style)
    return data_uri(Image.fromarray(picture))


def data_uri(image, sharp_colours: bool = False) -> str:
    """A Pillow image as JPEG in a data URI; ``sharp_colours`` keeps thin coloured lines."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=84, optimize=True, subsampling=0 if sharp_colours else 2)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
