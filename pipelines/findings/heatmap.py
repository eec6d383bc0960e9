"""Draw heatmaps: one or several scores per tile as colors over the slide.

N tiles, P maps. A color shows the rank of a tile within its slide and map, not the value of its score. Attention is
spread over thousands of tiles, and a few large values would give all other tiles the same color. Colors can therefore
not be compared between slides.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.findings.figures import write_figure

COLOR_MAP = "coolwarm"
"""Matplotlib color map: low ranks are blue, the median is gray, high ranks are red."""
OPACITY = 0.6
"""Opacity of the colors over a thumbnail, 0 to 1. The thumbnail is gray there, so that its stain cannot mislead."""
PANEL_EDGE = 800
"""Longer edge of a map, pixels of the image."""
COLUMNS = 3
"""Maximum number of maps side by side."""
DPI = 100


def draw_heatmap(
    coords: NDArray[np.integer[Any]],
    scores: NDArray[np.floating[Any]],
    tile_size_level0: int,
    slide_dimensions: tuple[int, int],
    out_path: Path,
    *,
    title: str = "",
    names: Sequence[str] = (),
    thumbnail: NDArray[np.uint8] | None = None,
) -> None:
    """Draw the scores of a slide's tiles and write the image to ``out_path`` (.jpg or .png).

    Parameters
    ----------
    coords
        (N, 2), x then y of the top-left corners, pixels at level 0.
    scores
        (N,) for one map, (P, N) for P maps. Tiles with NaN are not colored.
    tile_size_level0
        Edge of a tile, pixels at level 0.
    slide_dimensions
        (width, height), pixels at level 0; the image shows the part of the slide with tiles.
    names
        Titles of the maps, in the order of ``scores``.
    thumbnail
        RGB image (H, W, 3) of the whole slide, any size; None draws on white.
    """
    maps = np.atleast_2d(np.asarray(scores, np.float64))
    left, top, right, bottom = _part_with_tiles(coords, tile_size_level0, slide_dimensions)
    scale = PANEL_EDGE / max(right - left, bottom - top)
    size = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))
    canvas = _canvas(thumbnail, (left, top, right, bottom), slide_dimensions, size)
    corners = (np.asarray(coords, np.float64).reshape(-1, 2) - (left, top)) * scale
    panels = [
        paint(canvas, corners, tile_size_level0 * scale, ranks(values), over_tissue=thumbnail is not None)
        for values in maps
    ]
    figure = _layout(panels, title, list(names) or [""] * len(panels))
    write_figure(figure, out_path, dpi=DPI)


def ranks(scores: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return ranks (N,) from 0 (lowest score) to 1 (highest).

    Equal scores share their mean rank, and NaN stays NaN. If all scores are equal, every rank is 0.5.
    """
    known = np.isfinite(scores)
    ordered = np.sort(scores[known])
    result = np.full(len(scores), np.nan)
    below = np.searchsorted(ordered, scores[known], "left")
    up_to = np.searchsorted(ordered, scores[known], "right")
    result[known] = (below + up_to - 1) / 2 / max(len(ordered) - 1, 1) if len(ordered) > 1 else 0.5
    return result


def paint(
    canvas: NDArray[np.uint8],
    corners: NDArray[np.floating[Any]],
    edge: float,
    values: NDArray[np.floating[Any]],
    *,
    over_tissue: bool,
) -> NDArray[np.uint8]:
    """Return a copy of ``canvas`` (H, W, 3) with square tiles colored by ``values`` (N,), 0 to 1.

    Overlapping tiles show the mean of their values. Tiles with NaN are not painted.

    Parameters
    ----------
    corners, edge
        (N, 2) top-left corners and edge of the tiles, pixels of the canvas.
    over_tissue
        Whether the canvas stays visible under the colors, see `OPACITY`.
    """
    import matplotlib as mpl

    known = np.isfinite(values)
    height, width = canvas.shape[:2]
    start = np.round(corners[known]).astype(int)
    end = np.maximum(np.round(corners[known] + edge).astype(int), start + 1)
    (x0, y0), (x1, y1) = (np.clip(points, 0, (width, height)).T for points in (start, end))
    total = _sum_of_rectangles(x0, y0, x1, y1, values[known], (height, width))
    count = np.round(_sum_of_rectangles(x0, y0, x1, y1, np.ones(len(x0)), (height, width)))
    covered = count > 0
    colors = mpl.colormaps[COLOR_MAP](total[covered] / count[covered])[:, :3] * 255
    opacity = OPACITY if over_tissue else 1.0
    painted: NDArray[np.uint8] = canvas.copy()
    gray = canvas[covered].mean(axis=1, keepdims=True)
    painted[covered] = np.round(opacity * colors + (1 - opacity) * gray)
    return painted


def _sum_of_rectangles(
    x0: NDArray[np.integer[Any]],
    y0: NDArray[np.integer[Any]],
    x1: NDArray[np.integer[Any]],
    y1: NDArray[np.integer[Any]],
    values: NDArray[np.floating[Any]],
    shape: tuple[int, int],
) -> NDArray[np.float64]:
    """Return a map (H, W) with the sum of the ``values`` of the rectangles that cover each pixel.

    Each rectangle marks its four corners; two cumulative sums then fill all rectangles at once.
    """
    marks = np.zeros((shape[0] + 1, shape[1] + 1))
    for ys, xs, sign in ((y0, x0, 1), (y0, x1, -1), (y1, x0, -1), (y1, x1, 1)):
        np.add.at(marks, (ys, xs), sign * values)
    filled: NDArray[np.float64] = marks.cumsum(axis=0).cumsum(axis=1)[:-1, :-1]
    return filled


def _part_with_tiles(
    coords: NDArray[np.integer[Any]], tile_size: int, slide_dimensions: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Return left, top, right, bottom of the part with tiles plus a margin of one tile, pixels at level 0."""
    width, height = slide_dimensions
    if len(coords) == 0:
        return 0, 0, width, height
    left, top = (int(value) - tile_size for value in coords.min(axis=0))
    right, bottom = (int(value) + 2 * tile_size for value in coords.max(axis=0))
    return max(left, 0), max(top, 0), min(right, width), min(bottom, height)


def _canvas(
    thumbnail: NDArray[np.uint8] | None,
    part: tuple[int, int, int, int],
    slide_dimensions: tuple[int, int],
    size: tuple[int, int],
) -> NDArray[np.uint8]:
    """Return the ``part`` (left, top, right, bottom) of the thumbnail, resized to ``size`` (width, height)."""
    if thumbnail is None:
        return np.full((size[1], size[0], 3), 255, np.uint8)
    import cv2

    across, down = thumbnail.shape[1] / slide_dimensions[0], thumbnail.shape[0] / slide_dimensions[1]
    left, top, right, bottom = part
    grid_x = (left + (np.arange(size[0]) + 0.5) * (right - left) / size[0]) * across - 0.5
    grid_y = (top + (np.arange(size[1]) + 0.5) * (bottom - top) / size[1]) * down - 0.5
    map_x, map_y = np.meshgrid(grid_x.astype(np.float32), grid_y.astype(np.float32))
    canvas: NDArray[np.uint8] = cv2.remap(thumbnail, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return canvas


def _layout(panels: Sequence[NDArray[np.uint8]], title: str, names: Sequence[str]) -> Any:
    """Return a matplotlib figure of the panels with their names, a title and one color bar."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    shrink = min(1.0, 2 / columns)
    height, width = panels[0].shape[:2]
    inches = columns * max(width, 300) * shrink / DPI + 1.2, rows * (height * shrink / DPI + 0.5) + 0.6
    figure = Figure(figsize=inches, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, panel, name in zip(axes.flat, panels, names, strict=False):
        axis.imshow(panel, interpolation="antialiased")
        axis.set_title(name.replace("$", r"\$"), fontsize=10, wrap=True)
    figure.suptitle(title.replace("$", r"\$"), fontsize=12)
    scale = mpl.cm.ScalarMappable(mpl.colors.Normalize(0, 100), COLOR_MAP)
    bar = figure.colorbar(scale, ax=axes, shrink=0.6, ticks=[0, 50, 100])
    bar.ax.set_yticklabels(["lowest", "median", "highest"])
    bar.set_label("rank of the tile in this slide")
    return figure
