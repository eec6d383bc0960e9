"""Smooth random fields and random positions, from which irregular shapes are made."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

COARSE = 8
"""Downsample factor of the maps on which regions are planned."""

Field = NDArray[np.float32]
Mask = NDArray[np.bool_]


def coarse_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the shape (H, W) of the coarse map of a slide of ``shape``."""
    return -(-shape[0] // COARSE), -(-shape[1] // COARSE)


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> Field:
    """Return a random field (H, W) with mean 0, standard deviation 1, and hills about ``scale`` pixels wide."""
    height, width = shape
    coarse = rng.standard_normal((int(height / scale) + 4, int(width / scale) + 4), np.float32)
    field: Field = resized(coarse, (width, height), cv2.INTER_CUBIC)
    field -= field.mean()
    field /= field.std()
    return field


def resized(field: NDArray[np.float32], size: tuple[int, int], interpolation: int = cv2.INTER_LINEAR) -> Field:
    """Return ``field`` scaled to ``size`` (width, height)."""
    out: Field = cv2.resize(field, size, interpolation=interpolation)
    return out


def top_share(field: Field, within: Mask, share: float) -> Mask:
    """Return a mask of the pixels of ``within`` with the highest values of ``field``; ``share`` is 0 to 1."""
    if share <= 0 or not within.any():
        return np.zeros_like(within)
    chosen: Mask = within & (field >= np.quantile(field[within], 1 - share))
    return chosen


def jittered_grid(
    rng: np.random.Generator, shape: tuple[int, int], spacing: float, jitter: float = 0.28
) -> NDArray[np.int32]:
    """Return the points (N, 2), x then y, of a hexagonal grid over ``shape`` (H, W), each shifted at random.

    Parameters
    ----------
    spacing
        Distance between neighboring grid points, pixels.
    jitter
        Standard deviation of the shift, as a fraction of ``spacing``.
    """
    height, width = shape
    rows = np.arange(0, height, spacing * 0.866)
    cols = np.arange(0, width, spacing)
    x = cols[None, :] + np.where(np.arange(len(rows)) % 2, spacing / 2, 0)[:, None]
    y = np.broadcast_to(rows[:, None], x.shape)
    points = np.stack([x, y], axis=-1).reshape(-1, 2)
    points = points + rng.normal(0, spacing * jitter, points.shape)
    inside = (points >= 0).all(1) & (points[:, 0] < width - 1) & (points[:, 1] < height - 1)
    pixels: NDArray[np.int32] = points[inside].astype(np.int32)
    return pixels


def pack_discs(
    rng: np.random.Generator, region: Mask, radii: NDArray[np.float64], gap: float, tries: int = 4000
) -> NDArray[np.float64]:
    """Return discs (N, 3), x, y and radius, that lie inside ``region`` (H, W), at least ``gap`` pixels apart.

    ``tries`` radii are drawn from ``radii`` and placed at random, the largest first.
    """
    room = cv2.distanceTransform(region.view(np.uint8), cv2.DIST_L2, 3)
    rows, cols = np.nonzero(room > radii.min())
    if not len(rows):
        return np.zeros((0, 3))
    chosen = rng.integers(len(rows), size=tries)
    wanted = np.sort(rng.choice(radii, tries))[::-1]
    discs = np.zeros((tries, 3))
    count = 0
    for row, col, radius in zip(rows[chosen], cols[chosen], wanted, strict=True):
        if room[row, col] < radius:
            continue
        earlier = discs[:count]
        apart = np.hypot(earlier[:, 0] - col, earlier[:, 1] - row) - earlier[:, 2] - radius
        if count == 0 or apart.min() >= gap:
            discs[count] = col, row, radius
            count += 1
    return discs[:count]


def nearest_seed(seeds: NDArray[np.int32], shape: tuple[int, int]) -> NDArray[np.int32]:
    """Return a map of ``shape`` (H, W) with the number of the nearest seed, from 1 (Voronoi cells)."""
    empty = np.ones(shape, np.uint8)
    empty[seeds[:, 1], seeds[:, 0]] = 0
    _, cells = cv2.distanceTransformWithLabels(empty, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    numbers: NDArray[np.int32] = cells
    return numbers


def borders_between(cells: NDArray[np.int32]) -> Mask:
    """Return a mask (H, W) of the pixels that differ from the pixel to their left or above."""
    borders = np.zeros(cells.shape, bool)
    borders[:, 1:] |= cells[:, 1:] != cells[:, :-1]
    borders[1:] |= cells[1:] != cells[:-1]
    return borders
