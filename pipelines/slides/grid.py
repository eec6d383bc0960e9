"""The tile grid of a slide in level-0 pixels, and means of masks over its tiles."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

ROUNDING = 1e-6
"""Tile means below this are rounding errors and are set to 0."""


@dataclass(frozen=True)
class Grid:
    """N tiles of equal size."""

    x: NDArray[np.int32]
    """(N,), left edges, level-0 pixels."""
    y: NDArray[np.int32]
    """(N,), top edges, level-0 pixels."""
    row: NDArray[np.int32]
    """(N,), row in the full grid, from 0."""
    col: NDArray[np.int32]
    """(N,), column in the full grid, from 0."""
    size: int
    """Edge of a tile, level-0 pixels."""

    def __len__(self) -> int:
        return len(self.x)

    def where(self, chosen: NDArray[np.bool_]) -> Grid:
        """Return the tiles for which ``chosen`` (N,) is True."""
        return Grid(self.x[chosen], self.y[chosen], self.row[chosen], self.col[chosen], self.size)


def tile_grid(dimensions: tuple[int, int], tile_size: int, overlap: int, pixel_scale: float) -> Grid:
    """Return the tiles that lie completely on a slide, row by row.

    Every corner is rounded from its exact position, so rounding errors do not add up along a row.
    Tiles that would cross the right or bottom edge are left out.

    Parameters
    ----------
    dimensions
        Width and height of the slide, level-0 pixels.
    tile_size, overlap
        Edge of a tile and overlap of neighboring tiles, pixels as the encoder sees them.
    pixel_scale
        Level-0 pixels per pixel that the encoder sees: target mpp / mpp.
    """
    size = max(1, round(tile_size * pixel_scale))
    step = (tile_size - overlap) * pixel_scale
    xs, ys = (_corners(length, size, step) for length in dimensions)
    row, col = (index.ravel().astype(np.int32) for index in np.indices((len(ys), len(xs))))
    return Grid(xs[col], ys[row], row, col, size)


def _corners(length: int, size: int, step: float) -> NDArray[np.int32]:
    count = max(0, int((length - size) / step) + 2)
    corners = np.floor(np.arange(count) * step + 0.5).astype(np.int32)
    return np.asarray(corners[corners + size <= length])


def tile_means(mask: NDArray[np.bool_], grid: Grid, downsample: tuple[float, float]) -> NDArray[np.float32]:
    """Return the fraction of each tile that is True in ``mask``, (N,), 0 to 1.

    The result is exact even if tiles begin or end within mask pixels: the integral image is
    interpolated between its nodes.

    Parameters
    ----------
    mask
        (H, W) over the whole slide.
    downsample
        Level-0 pixels per mask pixel, x and y.
    """
    integral = np.asarray(cv2.integral(mask.astype(np.uint8), sdepth=cv2.CV_64F), np.float64)
    left, right = grid.x / downsample[0], (grid.x + grid.size) / downsample[0]
    top, bottom = grid.y / downsample[1], (grid.y + grid.size) / downsample[1]
    inside = (
        _at(integral, bottom, right)
        - _at(integral, top, right)
        - _at(integral, bottom, left)
        + _at(integral, top, left)
    )
    area = grid.size**2 / (downsample[0] * downsample[1])
    mean = np.clip(inside / area, 0, 1)
    return np.where(mean < ROUNDING, 0, mean).astype(np.float32)


def _at(integral: NDArray[np.float64], y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Interpolate the integral image between its nodes (bilinear interpolation is exact here)."""
    y0 = np.minimum(y.astype(np.intp), integral.shape[0] - 2)
    x0 = np.minimum(x.astype(np.intp), integral.shape[1] - 2)
    dy, dx = np.minimum(y - y0, 1), np.minimum(x - x0, 1)
    upper = integral[y0, x0] * (1 - dx) + integral[y0, x0 + 1] * dx
    lower = integral[y0 + 1, x0] * (1 - dx) + integral[y0 + 1, x0 + 1] * dx
    return np.asarray(upper * (1 - dy) + lower * dy)
