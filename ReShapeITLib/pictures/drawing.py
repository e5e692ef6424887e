"""Parts that all result pictures share: text, colour bar, scale bar, the footer, and writing the PNG."""

from __future__ import annotations

import numpy as np

from ..io.atomic import atomic_path
from .shading import colours_of

FOOTER = "Research software, not a medical device"
PAPER, INK, FAINT = (250, 250, 249), (38, 42, 48), (118, 124, 132)


def text(draw, position, words: str, size: int = 14, colour=INK, anchor: str = "la", max_width: float = np.inf) -> None:
    """Write ``words`` at (x, y) with Pillow's own font, smaller where needed for ``max_width`` pixels.

    ``anchor`` as in Pillow: horizontal l, m, r and vertical a (top), m, s (baseline).
    """
    from PIL import ImageFont

    font = ImageFont.load_default(size)
    while font.getlength(words) > max_width and size > 8:
        size -= 1
        font = ImageFont.load_default(size)
    draw.text(position, words, font=font, fill=colour, anchor=anchor)


def footer(draw, size_pixels: tuple[int, int], colour=FAINT) -> None:
    """The line that belongs under every result picture, at its lower right corner."""
    width, height = size_pixels
    text(draw, (width - 12, height - 9), FOOTER, 11, colour, "rs")


def colour_bar(image, draw, box, value_range: tuple[float, float], colormap: str, label: str) -> None:
    """Horizontal bar in ``box`` (left, top, width, height) with five numbers below and ``label`` above."""
    from PIL import Image

    left, top, width, height = box
    low, high = value_range
    colours = colours_of(np.linspace(low, high, width), value_range, colormap)
    strip = np.broadcast_to(np.round(255 * colours).astype(np.uint8), (height, width, 3))
    image.paste(Image.fromarray(np.ascontiguousarray(strip)), (left, top))
    draw.rectangle((left - 1, top - 1, left + width, top + height), outline=FAINT)
    text(draw, (left + width // 2, top - 6), label, 12, INK, "ms")
    for share in np.linspace(0.0, 1.0, 5):
        x, value = left + round(share * (width - 1)), low + share * (high - low)
        draw.line((x, top + height, x, top + height + 3), fill=FAINT)
        sign = "+" if low < 0 < value else ""
        number = f"{value:.0f}" if high - low >= 20 and value == round(value) else f"{value:.2g}"
        text(draw, (x, top + height + 6), sign + number, 11, INK, "ma")


def scale_bar(draw, right_bottom: tuple[int, int], mm_per_pixel: float, longest_pixels: int, colour=FAINT) -> None:
    """Bar of a round length in mm that ends at (x, y)."""
    longest_mm = longest_pixels * mm_per_pixel
    base = 10.0 ** np.floor(np.log10(longest_mm))
    length_mm = base * max(step for step in (1, 2, 5) if step * base <= longest_mm)
    x, y = right_bottom
    start = x - length_mm / mm_per_pixel
    draw.line((start, y, x, y), fill=colour, width=2)
    text(draw, (0.5 * (start + x), y - 4), f"{length_mm:g} mm", 11, colour, "ms")


def write_png(image, path) -> None:
    """Write a Pillow image; a failed write leaves an older file as it was."""
    with atomic_path(path, ".png") as temporary:
        image.save(temporary, format="PNG", optimize=True)
