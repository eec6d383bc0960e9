"""Overview image of a slide for visual checks: tissue outline, kept tiles, and rejected tiles by reason."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipelines.core.geojson import Polygon
from pipelines.slides.grid import Grid
from pipelines.slides.pictures import Captions
from pipelines.slides.pixels import Rgb
from pipelines.slides.slide import Thumbnail

COLORS = {
    "kept": (0, 150, 60),
    "background": (150, 150, 150),
    "white": (90, 200, 220),
    "black": (20, 20, 20),
    "pen-blue": (20, 60, 220),
    "pen-green": (150, 200, 0),
    "pen-red": (230, 20, 20),
    "fold": (120, 60, 20),
    "low-contrast": (255, 150, 220),
    "blurred": (255, 150, 0),
    "unreadable": (200, 0, 200),
}
"""RGB of kept tiles and of each reason for rejection."""
OUTLINE = (255, 220, 0)
"""RGB of the tissue outline."""
MIN_EDGE, MAX_EDGE = 900, 2400
"""Limits of the longer edge of the image, pixels."""
LEGEND_HEIGHT, SWATCH, MARGIN = 34, 18, 8
"""Height of a legend line, edge of a color square in it, and left margin; pixels."""


def overview(thumbnail: Thumbnail, polygons: Sequence[Polygon], grid: Grid, reason: NDArray[np.str_]) -> Rgb:
    """Return the thumbnail with the tissue outline; tiles are framed, and rejected tiles tinted, in their color.

    Parameters
    ----------
    reason
        (N,), reason for rejection of each tile; an empty string for kept tiles.
    """
    height, width = thumbnail.rgb.shape[:2]
    edge = min(max(height, width, MIN_EDGE), MAX_EDGE)
    zoom = edge / max(height, width)
    size = (max(1, round(width * zoom)), max(1, round(height * zoom)))
    picture: Rgb = cv2.resize(thumbnail.rgb, size, interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR)
    scale = np.array([size[0] / width / thumbnail.downsample[0], size[1] / height / thumbnail.downsample[1]])
    corners = np.rint(np.stack([grid.x, grid.y], axis=1) * scale).astype(int)
    opposite = np.rint(np.stack([grid.x + grid.size, grid.y + grid.size], axis=1) * scale).astype(int)
    states = np.where(reason == "", "kept", reason)
    for state, (left, top), (right, bottom) in zip(states.tolist(), corners.tolist(), opposite.tolist(), strict=True):
        color = COLORS[state]
        if state != "kept":
            area = picture[top:bottom, left:right]
            area[:] = (0.55 * area + 0.45 * np.array(color)).astype(np.uint8)
        cv2.rectangle(picture, (left, top), (right - 1, bottom - 1), color, 1)
    for polygon in polygons:
        rings = [np.rint(ring * scale).astype(np.int32) for ring in polygon]
        cv2.polylines(picture, rings, isClosed=True, color=OUTLINE, thickness=2)
    return np.vstack([picture, _legend(size[0], states)])


def _legend(width: int, states: NDArray[np.str_]) -> Rgb:
    """Return legend lines with a color square, name and count for every kind of tile in the image."""
    counts = {state: int((states == state).sum()) for state in COLORS}
    lines, left = [Image.new("RGB", (width, LEGEND_HEIGHT), "white")], MARGIN
    captions, middle = Captions(lines[0]), LEGEND_HEIGHT // 2
    for state, count in counts.items():
        if not count and state != "kept":
            continue
        text = f"{state} {count}"
        entry_width = SWATCH + 6 + captions.width(text)
        if left > MARGIN and left + entry_width > width:
            lines.append(Image.new("RGB", (width, LEGEND_HEIGHT), "white"))
            captions, left = Captions(lines[-1]), MARGIN
        captions.swatch(COLORS[state], left, middle, SWATCH)
        captions.write(text, left + SWATCH + 6, middle)
        left += entry_width + 18
    return np.vstack([np.asarray(line) for line in lines])
