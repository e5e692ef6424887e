"""A surface as a picture: soft shading and values as colours, in numpy alone (no display, no graphics library)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..core.errors import BadInputError
from ..core.mesh import TriangleSurface
from .zbuffer import VIEWS, Camera, rasterise

# sRGB colours at evenly spaced places of the scale; the middle of "signed" is the colour of no change.
COLORMAPS = {
    "signed": "2152a1 5794ce a6cbe2 ece8e2 f3ba9c db6e57 a51c30",
    "distance": "eeeae2 fad084 f08e4b cb4152 761a5c 2e0b3e",
    "confidence": "962c54 de7a60 f0cd96 96c4aa 2c7a80",
}
# Directions towards the lights in the camera's frame (right, up, towards the viewer) and their strengths.
_LIGHTS = (((-0.45, 0.62, 0.64), 0.80), ((0.75, 0.15, 0.45), 0.20), ((0.1, -0.85, 0.3), 0.10))


@dataclass(frozen=True)
class PictureStyle:
    """How pictures look.

    Args:
        size_pixels: edge length of one square picture.
        supersampling: pixels rendered per picture pixel and axis (smooth edges).
        surface_rgb: sRGB colour of a surface without values.
        background_rgb: top and bottom sRGB colour behind the surface.
        ambient: light from everywhere.
        occlusion: darkening of hollows, 0..1.
    """

    size_pixels: int = 480
    supersampling: int = 2
    surface_rgb: tuple[int, int, int] = (216, 168, 148)
    background_rgb: tuple[tuple[int, int, int], tuple[int, int, int]] = ((250, 250, 249), (228, 230, 233))
    ambient: float = 0.22
    occlusion: float = 0.55


def colours_of(values: np.ndarray, value_range: tuple[float, float], colormap: str) -> np.ndarray:
    """(N, 3) sRGB 0..1 of (N,) values; values beyond the range take its end colours, NaN is grey."""
    if colormap not in COLORMAPS:
        raise BadInputError(
            "There is no colour map '{name}'",
            "choose one of {choices}",
            "picture.colours",
            name=colormap,
            choices=", ".join(COLORMAPS),
        )
    table = np.array([list(bytes.fromhex(colour)) for colour in COLORMAPS[colormap].split()]) / 255.0
    low, high = value_range
    places = np.clip((np.asarray(values, dtype=np.float64) - low) / max(high - low, 1e-12), 0.0, 1.0)
    valid = np.isfinite(places)
    places = np.where(valid, places, 0.0) * (len(table) - 1)
    colours = np.stack([np.interp(places, np.arange(len(table)), table[:, channel]) for channel in range(3)], axis=-1)
    return np.where(valid[..., None], colours, 0.6)


def scalar_range(scalars: Sequence[np.ndarray | None], colormap: str) -> tuple[float, float]:
    """Round colour range that holds 98 % of all given values; about zero for ``signed``, else from zero."""
    if colormap == "confidence":
        return 0.0, 1.0
    sizes = np.abs(np.concatenate([np.zeros(0), *(values for values in scalars if values is not None)]))
    sizes = sizes[np.isfinite(sizes)]
    least = max(float(np.percentile(sizes, 98)) if sizes.size else 1.0, 0.1)
    base = 10.0 ** np.floor(np.log10(least))
    high = base * min(step for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * base >= least * (1 - 1e-9))
    return (-high, high) if colormap == "signed" else (0.0, high)


def camera_for(surfaces: Sequence[TriangleSurface], view: str, size_pixels: int, margin: float = 0.14) -> Camera:
    """Camera that shows all surfaces whole, at a scale that is the same from every side."""
    if view not in VIEWS:
        raise BadInputError(
            "There is no view '{name}'", "choose one of {choices}", "picture.view", name=view, choices=", ".join(VIEWS)
        )
    filled = [surface.vertices_ras for surface in surfaces if len(surface.faces)]
    if not filled:
        raise BadInputError(
            "The surface has no faces, so there is nothing to draw", "give another surface", "picture.no_faces"
        )
    lower = np.min([points.min(axis=0) for points in filled], axis=0)
    upper = np.max([points.max(axis=0) for points in filled], axis=0)
    extent_mm = max(float((upper - lower).max()), 1e-3) * (1.0 + 2.0 * margin)
    return Camera(view, tuple(0.5 * (lower + upper)), extent_mm / size_pixels, (size_pixels, size_pixels))


def render_array(
    surface: TriangleSurface,
    camera: Camera,
    scalars: np.ndarray | None = None,
    value_range: tuple[float, float] = (-5.0, 5.0),
    colormap: str = "signed",
    style: PictureStyle = PictureStyle(),
) -> np.ndarray:
    """(h, w, 3) uint8 sRGB picture of a surface, with colours from (V,) ``scalars`` where given."""
    factor = style.supersampling
    fine = Camera(
        camera.view,
        camera.centre_ras,
        camera.mm_per_pixel / factor,
        (camera.size_pixels[0] * factor, camera.size_pixels[1] * factor),
    )
    buffer = rasterise(surface.vertices_ras, surface.faces, fine)
    width, height = fine.size_pixels
    picture = _background(height, width, style)
    covered = buffer.covered
    if covered.any():
        base = np.broadcast_to(np.array(style.surface_rgb) / 255.0, (int(covered.sum()), 3))
        if scalars is not None:
            if np.shape(scalars) != (len(surface.vertices_ras),):
                raise ValueError("scalars must hold one value per vertex")
            seen = buffer.interpolate(np.asarray(scalars, dtype=np.float64)[:, None], surface.faces)[:, 0]
            base = colours_of(seen, value_range, colormap)
        normals = buffer.interpolate(surface.normals, surface.faces) @ fine.axes_ras.T
        openness = _openness(buffer.height_mm, covered, fine, style.occlusion)
        picture[covered] = _shade(base**2.2, normals, openness, style.ambient)
    # Averaged as light, not as sRGB numbers: edges keep their brightness.
    picture = picture.reshape(height // factor, factor, width // factor, factor, 3).mean(axis=(1, 3))
    return np.round(255.0 * np.clip(picture, 0.0, 1.0) ** (1 / 2.2)).astype(np.uint8)


def _background(height: int, width: int, style: PictureStyle) -> np.ndarray:
    top, bottom = ((np.array(colour) / 255.0) ** 2.2 for colour in style.background_rgb)
    places = np.linspace(0.0, 1.0, height)[:, None]
    return np.repeat(((1 - places) * top + places * bottom)[:, None], width, axis=1)


def _openness(height_mm: np.ndarray, covered: np.ndarray, camera: Camera, strength: float) -> np.ndarray:
    """(P,) share of the sky that covered pixels see, guessed from how far their surroundings rise above them."""
    openness = np.ones(int(covered.sum()))
    weight = covered.astype(np.float32)
    filled = np.where(covered, height_mm, 0.0).astype(np.float32)
    for share in (0.012, 0.05):
        sigma = share * camera.size_pixels[0]
        blur = {"sigma": sigma, "truncate": 2.0}
        around = ndimage.gaussian_filter(filled, **blur)[covered] / ndimage.gaussian_filter(weight, **blur)[covered]
        rise = np.maximum(around - filled[covered], 0.0) / (sigma * camera.mm_per_pixel)
        openness *= 1.0 - strength * rise / (rise + 1.2)
    return openness


def _shade(base: np.ndarray, normals: np.ndarray, openness: np.ndarray, ambient: float) -> np.ndarray:
    """(P, 3) linear light of (P, 3) linear base colours and camera-frame normals."""
    normals = normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    light = ambient * (0.75 + 0.25 * normals[:, 1]) * openness
    for direction, strength in _LIGHTS:
        towards = np.array(direction) / np.linalg.norm(direction)
        # Wrapped diffuse light: the shadow side fades softly.
        light = light + strength * np.maximum((normals @ towards + 0.2) / 1.2, 0.0) ** 1.3 * openness**0.5
    half = np.array(_LIGHTS[0][0]) / np.linalg.norm(_LIGHTS[0][0]) + np.array([0.0, 0.0, 1.0])
    gloss = np.maximum(normals @ (half / np.linalg.norm(half)), 0.0) ** 42 * openness
    edge = np.maximum(1.0 - normals[:, 2], 0.0) ** 3
    return base * (1.12 * light)[:, None] * (1.0 - 0.35 * edge)[:, None] + 0.05 * gloss[:, None]
