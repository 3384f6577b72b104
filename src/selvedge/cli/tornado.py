"""A tornado chart as PNG, from places that somebody else reckoned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from selvedge.fabric import StoreFailed

Mark = tuple[str, float, float, float, str, str]
"""An input: its name, y, x at the low and at the high end, and what is written beside them."""
_SCALE = 2
_INK, _LOW, _HIGH = "#374151", "#b45309", "#0b6e99"
_LEFT = 300


def draw_tornado(
    path: Path,
    title: str,
    size: tuple[float, float],
    middle: tuple[float, str],
    marks: Sequence[Mark],
) -> None:
    """Write it, twice as large as it was placed. Raises `StoreFailed`."""
    try:
        from PIL import Image, ImageDraw, ImageFont  # noqa: PLC0415
    except ImportError as error:
        raise StoreFailed("charts need Pillow: pip install 'selvedge[charts]'") from error
    width, height = (int(side * _SCALE) for side in size)
    image = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(image)
    fonts = {points: ImageFont.load_default(points * _SCALE) for points in (11, 13, 15)}
    pen.text((16 * _SCALE, 10 * _SCALE), title, fill=_INK, font=fonts[15])
    centre = middle[0] * _SCALE
    pen.line((centre, 48 * _SCALE, centre, height - 26 * _SCALE), fill=_INK, width=2)
    below = height - 14 * _SCALE
    pen.text((centre, below), middle[1], fill=_INK, font=fonts[13], anchor="mm")
    legend = "at the low end: brown; at the high end: blue"
    pen.text((16 * _SCALE, below), legend, fill=_INK, font=fonts[11], anchor="lm")
    for name, y, *ends, low_words, high_words in marks:
        at = (float(y) * _SCALE, fonts)
        pen.text(((_LEFT - 8) * _SCALE, at[0]), name, fill=_INK, font=fonts[13], anchor="rm")
        for x, colour, words in zip(ends, (_LOW, _HIGH), (low_words, high_words), strict=True):
            edge = float(x) * _SCALE
            left, right = min(edge, centre), max(edge, centre, min(edge, centre) + 2)
            box = (left, at[0] - 9 * _SCALE, right, at[0] + 9 * _SCALE)
            pen.rectangle(box, fill=colour)
            is_left = edge < centre
            spot = (left - 5 * _SCALE if is_left else right + 5 * _SCALE, at[0])
            pen.text(spot, words, fill=_INK, font=fonts[11], anchor="rm" if is_left else "lm")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, "PNG", optimize=True)
    except OSError as error:
        raise StoreFailed(f"cannot write {path}: {error.strerror}") from error
