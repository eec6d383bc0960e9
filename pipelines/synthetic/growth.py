"""Draw tumor growth: glands around lumina, nests with keratin pearls, solid sheets. 0.5 microns per pixel."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.synthetic.noise import (
    COARSE,
    Mask,
    borders_between,
    coarse_shape,
    jittered_grid,
    nearest_seed,
    pack_discs,
    resized,
    smooth_noise,
)
from pipelines.synthetic.nuclei import place
from pipelines.synthetic.stains import Canvas

POINTS = 96
"""Number of points on the outline of a gland."""
CRIBRIFORM = 105
"""Minimum radius of a gland with several lumina, pixels; smaller glands have one."""
THETA = np.linspace(0, 2 * np.pi, POINTS, endpoint=False)


def draw_sheet(canvas: Canvas, region: Mask, rng: np.random.Generator, *, spacing: float, gaps: float) -> None:
    """Fill ``region`` (H, W) with adjacent cells.

    Parameters
    ----------
    spacing
        Distance between cell centers, pixels.
    gaps
        How visible the gaps between cells are, 0 to 1; fine bridges cross them.
    """
    shape = region.shape
    seeds = jittered_grid(rng, shape, spacing, 0.17)
    cells = nearest_seed(seeds, shape)
    tones = rng.normal(96, 15, cells.max() + 1).clip(60, 140).astype(np.uint8)
    borders = cv2.blur(borders_between(cells) * np.uint8(255), (3, 3))
    gap = (borders.astype(np.uint16) * int(150 * gaps) >> 8).astype(np.uint8)
    bridges = rng.integers(0, 256, shape, dtype=np.uint8) < 90
    gap[bridges] //= 3
    np.copyto(canvas.eosin, cv2.subtract(tones[cells], gap), where=region)
    np.copyto(canvas.haematoxylin, cv2.subtract(np.full(shape, 34, np.uint8), gap // 3), where=region)
    inside = seeds[region[seeds[:, 1], seeds[:, 0]]]
    place(canvas.haematoxylin, rng, "polygonal", inside[rng.random(len(inside)) < 0.93])


def draw_glands(canvas: Canvas, region: Mask, rng: np.random.Generator) -> dict[str, Mask]:
    """Fill ``region`` (H, W) with glands: columnar cells in rings round an open lumen; return the mask ``glands``."""
    glands = np.zeros(region.shape, np.uint8)
    room = np.ascontiguousarray(region[::COARSE, ::COARSE])
    radii = rng.lognormal(np.log(62), 0.42, 400).clip(34, 170) / COARSE
    for x, y, radius in pack_discs(rng, room, radii, -0.5, tries=9000) * COARSE:
        draw = _draw_gland if radius < CRIBRIFORM else _draw_cribriform_gland
        cv2.fillPoly(glands, [draw(canvas, x, y, radius, rng)], 1, shift=4)
    return {"glands": glands.view(bool)}


def outline(x: float, y: float, radius: NDArray[np.float64]) -> NDArray[np.int32]:
    """Return the outline (POINTS, 2) around ``x, y`` in 1/16 pixel, as OpenCV draws with ``shift=4``."""
    corners = np.stack([x + radius * np.cos(THETA), y + radius * np.sin(THETA)], 1)
    return np.round(corners * 16).astype(np.int32)


def wobble(rng: np.random.Generator, *sizes: float) -> NDArray[np.float64]:
    """Return factors (POINTS,) on a radius; ``sizes`` scale random waves with 2, 3, ... periods."""
    waves = [size * rng.normal() * np.cos(k * THETA + rng.uniform(0, 6.3)) for k, size in enumerate(sizes, start=2)]
    return np.asarray(1 + np.sum(waves, axis=0)).clip(0.5, 1.35)


def _draw_gland(canvas: Canvas, x: float, y: float, radius: float, rng: np.random.Generator) -> NDArray[np.int32]:
    """Draw a gland with one lumen; return its `outline`."""
    outer = radius * wobble(rng, 0.13, 0.06, 0.04, 0.02)
    epithelium = rng.uniform(27, 38) * wobble(rng, 0.1, 0.1, 0.1, 0.1, 0.08, 0.07, 0.05)
    lumen = np.maximum(outer - epithelium, radius * 0.12) + rng.normal(0, 0.8, POINTS)
    _fill_epithelium(canvas, outline(x, y, outer))
    _open_lumen(canvas, outline(x, y, lumen), rng)
    for depth, share in ((11, 1.0), (19.0, 0.3)):
        _ring_of_nuclei(canvas, x, y, outer - depth, rng, share)
    return outline(x, y, outer)


def _draw_cribriform_gland(
    canvas: Canvas, x: float, y: float, radius: float, rng: np.random.Generator
) -> NDArray[np.int32]:
    """Draw a large gland whose epithelium is pierced by several lumina; return its `outline`."""
    outer = radius * wobble(rng, 0.1, 0.05, 0.03, 0.02)
    _fill_epithelium(canvas, outline(x, y, outer))
    side = int(2 * radius)
    cells = jittered_grid(rng, (side, side), 16.5) - side / 2
    cells = cells[np.hypot(*cells.T) < radius * 0.85]
    place(canvas.haematoxylin, rng, "polygonal", cells + np.array([x, y]))
    disc = np.zeros((side // 4, side // 4), np.uint8)
    cv2.circle(disc, (side // 8, side // 8), int(radius * 0.8 / 4), 1, -1)
    for right, down, hole in pack_discs(rng, disc.view(bool), rng.uniform(5, 11, 50), 6, tries=300) * 4:
        lumen, middle = hole * wobble(rng, 0.14, 0.07, 0.04), (x + right - side / 2, y + down - side / 2)
        _fill_epithelium(canvas, outline(*middle, lumen + 12))
        _open_lumen(canvas, outline(*middle, lumen), rng)
        _ring_of_nuclei(canvas, *middle, lumen + 12, rng, 0.95)
    _ring_of_nuclei(canvas, x, y, outer - 10, rng, 1.0)
    return outline(x, y, outer)


def _fill_epithelium(canvas: Canvas, edge: NDArray[np.int32]) -> None:
    cv2.polylines(canvas.eosin, [edge], True, 120, 4, cv2.LINE_AA, shift=4)
    cv2.fillPoly(canvas.eosin, [edge], 92, cv2.LINE_AA, shift=4)
    cv2.fillPoly(canvas.haematoxylin, [edge], 34, cv2.LINE_AA, shift=4)


def _open_lumen(canvas: Canvas, opening: NDArray[np.int32], rng: np.random.Generator) -> None:
    """Empty a lumen, or fill it with pale secretion."""
    secretion = int(rng.choice([3, 8, 35, 70], p=[0.3, 0.15, 0.25, 0.3]))
    cv2.fillPoly(canvas.eosin, [opening], secretion, cv2.LINE_AA, shift=4)
    cv2.fillPoly(canvas.haematoxylin, [opening], secretion // 8, cv2.LINE_AA, shift=4)


def _ring_of_nuclei(
    canvas: Canvas, x: float, y: float, radius: NDArray[np.float64], rng: np.random.Generator, share: float
) -> None:
    around = int(2 * np.pi * radius.mean() / 12.5)
    theta = (np.arange(around) + rng.normal(0, 0.16, around)) * 2 * np.pi / max(around, 1)
    theta = theta[rng.random(around) < share]
    ring = np.interp(theta, THETA, radius, period=2 * np.pi) + rng.normal(0, 1.8, len(theta))
    points = np.stack([x + ring * np.cos(theta), y + ring * np.sin(theta)], 1)
    place(canvas.haematoxylin, rng, "columnar", points, theta + rng.normal(0, 0.14, len(theta)))


def draw_nests(canvas: Canvas, region: Mask, rng: np.random.Generator) -> dict[str, Mask]:
    """Fill ``region`` (H, W) with nests of cells that have gaps and bridges, and with keratin pearls.

    Returns the masks ``nests``, with the pearls in them, and ``keratin_pearls``.
    """
    height, width = region.shape
    small = coarse_shape(region.shape)
    septa = np.abs(smooth_noise(rng, small, 26))
    nests = region & (resized(septa, (width, height)) > 0.3)
    draw_sheet(canvas, nests, rng, spacing=23, gaps=0.85)
    depth = cv2.distanceTransform(nests.view(np.uint8), cv2.DIST_L2, 3)
    edge = jittered_grid(rng, region.shape, 13, 0.2)
    at_edge = depth[edge[:, 1], edge[:, 0]]
    place(canvas.haematoxylin, rng, "basal", edge[(at_edge > 3) & (at_edge < 13)])
    beside = cv2.distanceTransform((~nests).view(np.uint8), cv2.DIST_L2, 3)
    cleft = ~nests & region & (beside < 4 + 6 * resized(smooth_noise(rng, small, 14), (width, height)))
    canvas.eosin[cleft] //= 6
    canvas.haematoxylin[cleft] //= 6
    deep = np.ascontiguousarray(nests[::COARSE, ::COARSE])
    pearls = np.zeros(region.shape, bool)
    for x, y, radius in pack_discs(rng, deep, rng.uniform(34, 92, 300) / COARSE, 5, tries=500) * COARSE:
        _draw_pearl(canvas, pearls, x, y, radius, rng)
    return {"nests": nests | pearls, "keratin_pearls": pearls}


def _draw_pearl(canvas: Canvas, pearls: Mask, x: float, y: float, radius: float, rng: np.random.Generator) -> None:
    """Draw a whorl of keratin: concentric rings of eosin, flattened nuclei between the outer rings.

    It is added to the mask ``pearls``.
    """
    left, top = max(int(x - radius), 0), max(int(y - radius), 0)
    window = (slice(top, int(y + radius)), slice(left, int(x + radius)))
    eosin, haematoxylin = canvas.eosin[window], canvas.haematoxylin[window]
    down, right = np.mgrid[: eosin.shape[0], : eosin.shape[1]]
    down, right = down + top - y, right + left - x
    theta = np.arctan2(down, right)
    wave = np.interp(theta, THETA - np.pi, wobble(rng, 0.11, 0.06, 0.04, 0.03))
    distance = np.hypot(down, right) / (radius * wave)
    rings = np.sin(distance * radius / rng.uniform(1.1, 1.6) + 0.8 * np.sin(2 * theta + rng.uniform(0, 6.3)))
    core = np.clip((0.72 - distance) * 4, 0, 1)
    level = 112 + 62 * core + (24 + 14 * core) * rings
    cracks = core * (np.sin(distance * radius / 3.1 + 4 * np.cos(theta + rng.uniform(0, 6.3))) > 0.86)
    level = level * (1 - 0.6 * cracks)
    cover = np.clip((0.95 - distance) * 9, 0, 1)
    pearls[window] |= cover > 0
    eosin[:] = (eosin * (1 - cover) + level * cover).clip(0, 255)
    haematoxylin[:] = (haematoxylin * (1 - cover) + 14 * cover * (1 - cracks)).clip(0, 255)
    theta = rng.uniform(0, 2 * np.pi, int(radius * 0.75))
    ring = radius * rng.uniform(0.45, 0.98, len(theta)) * np.interp(theta, THETA, wobble(rng, 0.05), period=2 * np.pi)
    points = np.stack([x + ring * np.cos(theta), y + ring * np.sin(theta)], 1)
    place(canvas.haematoxylin, rng, "flat", points, theta + np.pi / 2)
