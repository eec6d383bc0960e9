"""Smooth random fields and random places: what irregular shapes are made from."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

COARSE = 8
"""Regions are planned on maps this many times smaller than the slide."""

Field = NDArray[np.float32]
Mask = NDArray[np.bool_]


def coarse_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the shape (H, W) of the coarse map of a slide of ``shape``."""
    return -(-shape[0] // COARSE), -(-shape[1] // COARSE)


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> Field:
    """Return a field of ``shape`` (H, W), mean 0, deviation 1, whose hills are about ``scale`` pixels wide."""
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
    """Return the ``share`` (0 to 1) of the pixels of ``within`` where ``field`` is highest."""
    if share <= 0 or not within.any():
        return np.zeros_like(within)
    chosen: Mask = within & (field >= np.quantile(field[within], 1 - share))
    return chosen


def jittered_grid(
    rng: np.random.Generator, shape: tuple[int, int], spacing: float, jitter: float = 0.28
) -> NDArray[np.int32]:
    """Return points (N, 2), x then y, of a hexagonal grid over ``shape`` (H, W), each moved a little."""
    height, width = shape
    rows = np.arange(0, height, spacing * 0.866)
    cols = np.arange(0, width, spacing)
    x = cols[None, :] + np.where(np.arange(len(rows)) % 2, spacing / 2, 0)[:, None]
    y = np.broadcast_to(rows[:, None], x.shape)
    points = np.stack([x, y], axis=-1).reshape(-1, 2)
    points = points + rng.normal(0, spacing * jitter, points.shape)
    inside = (points >= 0).all(1) & (points[:, 0] < width - 1) & (points[:, 1] < height - 1)
    found: NDArray[np.int32] = points[inside].astype(np.int32)
    return found


def pack_discs(
    rng: np.random.Generator, region: Mask, radii: NDArray[np.float64], gap: float, tries: int = 4000
) -> NDArray[np.float64]:
    """Return discs (N, 3), x, y and radius, that lie in ``region`` (H, W), ``gap`` pixels apart.

    ``radii`` are tried from the largest to the smallest, each at random places.
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
    """Return for each pixel of a map of ``shape`` (H, W) a number, from 1, that tells its nearest seed (Voronoi)."""
    empty = np.ones(shape, np.uint8)
    empty[seeds[:, 1], seeds[:, 0]] = 0
    _, cells = cv2.distanceTransformWithLabels(empty, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    numbers: NDArray[np.int32] = cells
    return numbers


def borders_between(cells: NDArray[np.int32]) -> Mask:
    """Return where a cell of ``cells`` (H, W) meets another one to its left or above."""
    borders = np.zeros(cells.shape, bool)
    borders[:, 1:] |= cells[:, 1:] != cells[:, :-1]
    borders[1:] |= cells[1:] != cells[:-1]
    return borders
