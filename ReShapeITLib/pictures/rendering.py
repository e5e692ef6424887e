"""Pictures of surfaces as PNG: one surface, or a sheet of several from several sides with captions and a colour bar."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..core.errors import BadInputError
from ..core.mesh import TriangleSurface
from .drawing import FAINT, INK, PAPER, colour_bar, footer, scale_bar, text, write_png
from .shading import PictureStyle, camera_for, render_array, scalar_range

# Letters at the left, right, upper and lower edge of a view.
_SIDES = {
    "anterior": "RLSI",
    "posterior": "LRSI",
    "left": "APSI",
    "right": "PASI",
    "superior": "LRAP",
    "inferior": "RLAP",
}
_GAP, _TITLE, _BOTTOM, _BAR_BOTTOM = 6, 40, 26, 74


def render_surface(
    surface: TriangleSurface,
    path,
    size_pixels: int = 640,
    view: str = "anterior",
    scalars: np.ndarray | None = None,
    scalar_range_mm: tuple[float, float] | None = None,
    colormap: str = "signed",
    title: str = "",
    label: str = "distance in mm",
) -> None:
    """Write a PNG of one surface, with colours from (V,) ``scalars`` where given; arguments as ``render_panels``."""
    panels = [(surface, title, scalars)]
    render_panels(panels, [view], path, size_pixels, scalar_range_mm, colormap, label)


def render_panels(
    panels: Sequence[tuple[TriangleSurface, str, np.ndarray | None]],
    views: Sequence[str],
    path,
    size_pixels: int = 360,
    scalar_range_mm: tuple[float, float] | None = None,
    colormap: str = "signed",
    label: str = "distance in mm",
) -> None:
    """Write :func:`panel_sheet` as a PNG file.

    Raises:
        BadInputError: no surface to draw, an unknown view or colour map, or a file that cannot be written.
    """
    write_png(panel_sheet(panels, views, size_pixels, scalar_range_mm, colormap, label), path)


def panel_sheet(
    panels: Sequence[tuple[TriangleSurface, str, np.ndarray | None]],
    views: Sequence[str],
    size_pixels: int = 360,
    scalar_range_mm: tuple[float, float] | None = None,
    colormap: str = "signed",
    label: str = "distance in mm",
):
    """A sheet as a Pillow image: a column per panel, a row per view, all at one scale.

    Args:
        panels: surface, title and (V,) values or None of each column.
        views: keys of ``zbuffer.VIEWS``: the side the viewer looks from.
        size_pixels: edge length of one picture.
        scalar_range_mm: values of the two ends of the colour bar; made from the values where None.
        colormap: a key of ``shading.COLORMAPS``.
        label: what the colours mean.

    Raises:
        BadInputError: no surface to draw, or an unknown view or colour map.
    """
    from PIL import Image, ImageDraw

    if not panels or not views:
        raise BadInputError("There is nothing to draw", "give at least one surface and one view", "picture.nothing")
    values = [scalars for _, _, scalars in panels]
    has_values = any(scalars is not None for scalars in values)
    value_range = scalar_range_mm or scalar_range(values, colormap)
    top = _TITLE if any(title for _, title, _ in panels) else _GAP
    width = _GAP + len(panels) * (size_pixels + _GAP)
    height = top + len(views) * (size_pixels + _GAP) + (_BAR_BOTTOM if has_values else _BOTTOM)
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    for row, view in enumerate(views):
        camera = camera_for([surface for surface, _, _ in panels], view, size_pixels)
        for column, (surface, _, scalars) in enumerate(panels):
            corner = (_GAP + column * (size_pixels + _GAP), top + row * (size_pixels + _GAP))
            picture = render_array(surface, camera, scalars, value_range, colormap, PictureStyle())
            sheet.paste(Image.fromarray(picture), corner)
            _annotate(draw, corner, size_pixels, view)
            bar_end = (corner[0] + size_pixels - 12, corner[1] + size_pixels - 10)
            scale_bar(draw, bar_end, camera.mm_per_pixel, size_pixels // 4)
    for column, (_, title, _) in enumerate(panels):
        middle = _GAP + column * (size_pixels + _GAP) + size_pixels // 2
        text(draw, (middle, top // 2 + 1), title, 16, INK, "mm", size_pixels - 8)
    if has_values:
        bar_width = min(320, width - 60)
        colour_bar(sheet, draw, ((width - bar_width) // 2, height - 52, bar_width, 12), value_range, colormap, label)
    footer(draw, (width, height))
    return sheet


def _annotate(draw, corner: tuple[int, int], size_pixels: int, view: str) -> None:
    """Name of the view and the patient's sides at the edges of a picture."""
    x, y = corner
    middle, end = size_pixels // 2, size_pixels - 10
    left, right, upper, lower = _SIDES[view]
    text(draw, (x + 10, y + 8), view, 12, FAINT)
    text(draw, (x + 10, y + middle), left, 12, FAINT, "lm")
    text(draw, (x + end, y + middle), right, 12, FAINT, "rm")
    text(draw, (x + middle, y + 8), upper, 12, FAINT, "ma")
    text(draw, (x + middle, y + end), lower, 12, FAINT, "ms")
