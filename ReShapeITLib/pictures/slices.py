"""Montage of axial, coronal and sagittal slices with the outlines of several masks, as PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy import ndimage

from ..core.errors import BadInputError
from ..core.geometry import ImageGeometry
from .drawing import footer, scale_bar, text, write_png

# RAS axis across the slice, image right and image down in RAS, letters at left, right, up, down: the radiologist's way.
PLANES = {
    "axial": (2, (-1, 0, 0), (0, -1, 0), "RLAP"),
    "coronal": (1, (-1, 0, 0), (0, 0, -1), "RLSI"),
    "sagittal": (0, (0, -1, 0), (0, 0, -1), "APSI"),
}
CONTOUR_RGB = {"truth": (96, 211, 148), "input": (255, 159, 64), "refined": (92, 184, 255)}
_MORE_RGB = ((230, 120, 200), (250, 225, 90), (160, 160, 255))
_PAPER, _PANEL, _LIGHT, _DIM = (24, 27, 31), (38, 42, 48), (232, 234, 237), (150, 156, 164)
_SUPERSAMPLING, _GAP, _BOTTOM = 3, 6, 40


@dataclass(frozen=True)
class SliceOptions:
    """How the montage looks.

    Args:
        planes: rows, keys of ``PLANES``.
        slices_per_plane: columns, evenly spread through the masks.
        size_pixels: edge length of one picture.
        margin_mm: space around the masks.
        window: image values shown black and white (the default suits soft tissue in CT, in HU).
        line_pixels: thickness of the outlines.
    """

    planes: tuple[str, ...] = ("axial", "coronal", "sagittal")
    slices_per_plane: int = 4
    size_pixels: int = 260
    margin_mm: float = 12.0
    window: tuple[float, float] = (-160.0, 240.0)
    line_pixels: float = 1.6


def slice_contours(
    masks: Mapping[str, np.ndarray],
    geometry: ImageGeometry,
    path,
    image: np.ndarray | None = None,
    options: SliceOptions = SliceOptions(),
    title: str = "",
) -> None:
    """Write a PNG of slices with one outline per mask, a row for each plane.

    Args:
        masks: (K, J, I) masks by name, drawn in this order; "truth", "input" and "refined" have fixed colours.
        geometry: where their voxels lie; oblique grids are cut along the patient's axes.
        path: PNG file.
        image: (K, J, I) intensities behind the outlines.
        title: caption.

    Raises:
        BadInputError: all masks are empty, or the file cannot be written.
    """
    cut = _Cut.of(masks, geometry, image)
    rows = []
    for plane in options.planes:
        axis, shares = PLANES[plane][0], (np.arange(options.slices_per_plane) + 0.5) / options.slices_per_plane
        rows.append([(plane, cut.centre_at(axis, share)) for share in shares])
    write_png(_montage(cut, rows, options, title), path)


def slices_through(
    masks: Mapping[str, np.ndarray],
    geometry: ImageGeometry,
    point_ras: np.ndarray,
    image: np.ndarray | None = None,
    options: SliceOptions = SliceOptions(),
):
    """One slice of each plane through a point, which is marked, as a Pillow image; arguments as ``slice_contours``.

    Args:
        point_ras: (3,) in mm.

    Raises:
        BadInputError: all masks are empty.
    """
    cut, cells = _Cut.of(masks, geometry, image), []
    for plane in options.planes:
        axis, centre = PLANES[plane][0], 0.5 * (cut.lower + cut.upper)
        centre[axis] = point_ras[axis]
        cells.append((plane, centre))
    return _montage(cut, [cells], options, "", np.asarray(point_ras, dtype=np.float64))


@dataclass(frozen=True, eq=False)
class _Cut:
    """What is cut: masks, their grid, intensities, and in RAS mm the box of all masks and that of their bulk."""

    masks: dict[str, np.ndarray]
    geometry: ImageGeometry
    image: np.ndarray | None
    lower: np.ndarray
    upper: np.ndarray
    bulk: np.ndarray

    @classmethod
    def of(cls, masks, geometry: ImageGeometry, image) -> _Cut:
        masks = {name: np.asarray(mask, dtype=bool) for name, mask in masks.items()}
        if any(array.shape != geometry.shape_kji for array in [*masks.values(), *([] if image is None else [image])]):
            raise ValueError(f"all masks and the image must have the shape {geometry.shape_kji} of the geometry")
        points = _voxel_points_ras(masks, geometry)
        # Slices go through the bulk: a false island far away must not draw them into empty space.
        bulk = np.quantile(points, (0.02, 0.98), axis=0)
        return cls(masks, geometry, image, points.min(axis=0), points.max(axis=0), bulk)

    def centre_at(self, axis: int, share: float) -> np.ndarray:
        """Middle of a slice across ``axis``, at a share 0..1 of the way through the bulk."""
        centre = 0.5 * (self.lower + self.upper)
        centre[axis] = self.bulk[0, axis] + share * (self.bulk[1, axis] - self.bulk[0, axis])
        return centre


def _montage(cut: _Cut, rows, options: SliceOptions, title: str, mark_ras: np.ndarray | None = None):
    """Sheet of slices, given as rows of plane and centre, all at one scale."""
    from PIL import Image, ImageDraw

    size = options.size_pixels
    mm_per_pixel = (float((cut.upper - cut.lower).max()) + 2 * options.margin_mm) / size
    top = 40 if title else _GAP
    width, height = _GAP + len(rows[0]) * (size + _GAP), top + len(rows) * (size + _GAP) + _BOTTOM
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for row, column in product(range(len(rows)), range(len(rows[0]))):
        plane, centre = rows[row][column]
        corner = (_GAP + column * (size + _GAP), top + row * (size + _GAP))
        picture = _slice_picture(cut.masks, cut.geometry, cut.image, plane, centre, mm_per_pixel, options)
        sheet.paste(picture, corner)
        _annotate(draw, corner, size, plane, centre[PLANES[plane][0]])
        if mark_ras is not None:
            _mark(draw, corner, size, plane, (mark_ras - centre) / mm_per_pixel)
        scale_bar(draw, (corner[0] + size - 10, corner[1] + size - 9), mm_per_pixel, size // 4, _DIM)
    if title:
        text(draw, (width // 2, top // 2 + 1), title, 16, _LIGHT, "mm", width - 2 * _GAP)
    _legend(draw, height - 22, list(cut.masks))
    footer(draw, (width, height), _DIM)
    return sheet


def _mark(draw, corner: tuple[int, int], size: int, plane: str, offset_pixels: np.ndarray) -> None:
    """Four short strokes around a place that lies (3,) RAS pixels from the middle of a picture."""
    _, right, down, _ = PLANES[plane]
    x = corner[0] + 0.5 * (size - 1) + float(offset_pixels @ np.array(right))
    y = corner[1] + 0.5 * (size - 1) + float(offset_pixels @ np.array(down))
    for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        draw.line((x + 6 * dx, y + 6 * dy, x + 13 * dx, y + 13 * dy), fill=_LIGHT, width=1)


def contour_colours(names: Sequence[str]) -> dict[str, tuple[int, int, int]]:
    """Colour of each name: the fixed ones, then others in turn."""
    others = [name for name in names if name not in CONTOUR_RGB]
    more = {name: _MORE_RGB[index % len(_MORE_RGB)] for index, name in enumerate(others)}
    return {name: CONTOUR_RGB.get(name) or more[name] for name in names}


def _voxel_points_ras(masks: Mapping[str, np.ndarray], geometry: ImageGeometry, most: int = 200_000) -> np.ndarray:
    """(N, 3) RAS mm centres of voxels in any of the masks; of very many every n-th, and always the outermost."""
    used = np.zeros(geometry.shape_kji, dtype=bool)
    for mask in masks.values():
        used |= mask
    points = np.argwhere(used)[:, ::-1]
    if not len(points):
        raise BadInputError(
            "All masks are empty, so there is nothing to draw", "give a mask that has voxels", "picture.empty"
        )
    points = geometry.ijk_to_ras_points(points)
    outermost = np.concatenate([points.argmin(axis=0), points.argmax(axis=0)])
    return np.concatenate([points[outermost], points[:: len(points) // most + 1]])


def _slice_ijk(geometry: ImageGeometry, plane: str, centre_ras: np.ndarray, mm_per_pixel: float, n: int) -> np.ndarray:
    """(3, n, n) voxel coordinates k, j, i of the n x n pixel centres of a slice about ``centre_ras``."""
    _, right, down, _ = PLANES[plane]
    offsets_mm = (np.arange(n) - 0.5 * (n - 1)) * mm_per_pixel
    points = centre_ras + offsets_mm[None, :, None] * np.array(right) + offsets_mm[:, None, None] * np.array(down)
    return geometry.ras_to_ijk_points(points.reshape(-1, 3)).T[::-1].reshape(3, n, n)


def _slice_picture(masks, geometry, image, plane, centre_ras, mm_per_pixel, options: SliceOptions):
    """One slice as a Pillow image; drawn larger and then reduced, so that lines are smooth."""
    from PIL import Image, ImageDraw
    from skimage.measure import find_contours

    size, large = options.size_pixels, options.size_pixels * _SUPERSAMPLING
    kji = _slice_ijk(geometry, plane, centre_ras, mm_per_pixel, size)
    grey = np.broadcast_to(np.array(_PANEL, dtype=np.uint8), (size, size, 3))
    if image is not None:
        low, high = options.window
        values = ndimage.map_coordinates(image, kji, order=1, mode="constant", cval=low, output=np.float32)
        shades = 255 * np.clip((values - low) / (high - low), 0.0, 1.0)
        grey = np.repeat(shades[..., None], 3, axis=2).astype(np.uint8)
    picture = Image.fromarray(np.ascontiguousarray(grey)).resize((large, large), Image.Resampling.BICUBIC)
    draw, thickness = ImageDraw.Draw(picture), round(options.line_pixels * _SUPERSAMPLING)
    for (_, mask), colour in zip(masks.items(), contour_colours(list(masks)).values(), strict=True):
        # grid-constant: beyond the grid is background, so an outline closes at the border of the image.
        inside = ndimage.map_coordinates(mask.view(np.uint8), kji, order=1, mode="grid-constant", output=np.float32)
        for outline in find_contours(np.pad(inside, 1), 0.5):
            line = (outline[:, ::-1] - 0.5) * _SUPERSAMPLING
            draw.line(line.ravel().tolist(), fill=colour, width=thickness, joint="curve")
    return picture.resize((size, size), Image.Resampling.LANCZOS)


def _annotate(draw, corner: tuple[int, int], size: int, plane: str, position_mm: float) -> None:
    """Plane, position and the patient's sides at the edges of a picture."""
    x, y = corner
    letter = {"axial": "SI", "coronal": "AP", "sagittal": "RL"}[plane][0 if position_mm >= 0 else 1]
    left, right, upper, lower = PLANES[plane][3]
    text(draw, (x + 8, y + 7), f"{plane}  {letter} {abs(position_mm):.1f} mm", 11, _DIM)
    text(draw, (x + 8, y + size // 2), left, 11, _DIM, "lm")
    text(draw, (x + size - 8, y + size // 2), right, 11, _DIM, "rm")
    text(draw, (x + size // 2, y + 22), upper, 11, _DIM, "ma")
    text(draw, (x + size // 2, y + size - 8), lower, 11, _DIM, "ms")


def _legend(draw, y: int, names: Sequence[str]) -> None:
    x = 2 * _GAP
    for name, colour in contour_colours(names).items():
        draw.line((x, y, x + 22, y), fill=colour, width=3)
        text(draw, (x + 29, y), name, 13, _LIGHT, "lm")
        x = draw.textbbox((x + 29, y), name, font_size=13)[2] + 24
