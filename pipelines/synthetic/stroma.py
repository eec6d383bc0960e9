"""Draw the surroundings of a tumor, independent of the diagnosis: collagen, stroma cells, vessels, aerated lung."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.synthetic.noise import (
    COARSE,
    Field,
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

FIBERS = (512, 1024)
"""Height and width of the fiber texture that is warped over the slide, pixels."""
VESSEL = 11
"""Maximum radius of a vessel with its wall, pixels of the coarse map."""

Disc = tuple[float, float, float]
"""x and y of the center, and the radius, pixels."""


def draw_collagen(canvas: Canvas, tissue: Mask, rng: np.random.Generator) -> Field:
    """Fill ``tissue`` (H, W) with wavy fibers; return their direction on the coarse map, radians."""
    height, width = tissue.shape
    small = coarse_shape(tissue.shape)
    y, x = np.mgrid[: small[0], : small[1]].astype(np.float32) * COARSE
    turn = rng.uniform(0, np.pi)
    along = x * np.cos(turn) + y * np.sin(turn)
    across = y * np.cos(turn) - x * np.sin(turn)
    across = across + 55 * smooth_noise(rng, small, 40) + 14 * smooth_noise(rng, small, 12)
    sheet = _fiber_sheet(rng)
    column, row = (resized(m.astype(np.float32), (width, height)) for m in (along, across))
    fibers = cv2.remap(sheet, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    np.copyto(canvas.eosin, fibers, where=tissue)
    np.copyto(canvas.haematoxylin, fibers // 8 + 8, where=tissue)
    down, right = np.gradient(across)
    direction: Field = np.arctan2(-right, down).astype(np.float32)
    return direction


def _fiber_sheet(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a texture of fibers of shape `FIBERS` that can be repeated without seams."""

    def bundles(thick: float, long: float) -> Field:
        coarse = rng.standard_normal((int(FIBERS[0] / thick), int(FIBERS[1] / long)), np.float32)
        return resized(np.tile(coarse, (3, 3)), (3 * FIBERS[1], 3 * FIBERS[0]), cv2.INTER_CUBIC)[
            FIBERS[0] : 2 * FIBERS[0], FIBERS[1] : 2 * FIBERS[1]
        ]

    strands = bundles(9, 170)
    level = 88 + 24 * strands + 15 * bundles(3.5, 90) + 5 * bundles(1.5, 8)
    gaps = np.clip((-strands - 0.75) * 2.2, 0, 1)
    sheet: NDArray[np.uint8] = (level * (1 - 0.8 * gaps)).clip(6, 200).astype(np.uint8)
    return sheet


def draw_stroma_cells(canvas: Canvas, stroma: Mask, direction: Field, rng: np.random.Generator) -> None:
    """Draw fibroblasts along the fibers and clusters of lymphocytes in ``stroma`` (H, W)."""
    points = _inside(jittered_grid(rng, stroma.shape, 34, 0.4), stroma)
    angles = direction[points[:, 1] // COARSE, points[:, 0] // COARSE].astype(np.float64)
    place(canvas.haematoxylin, rng, "fibroblast", points, angles + rng.normal(0, 0.15, len(points)))
    density = smooth_noise(rng, direction.shape, 22)
    points = _inside(jittered_grid(rng, stroma.shape, 13, 0.35), stroma)
    chance = 0.025 + 0.9 * np.clip((density - 1.25) * 1.8, 0, 1)
    points = points[rng.random(len(points)) < chance[points[:, 1] // COARSE, points[:, 0] // COARSE]]
    place(canvas.haematoxylin, rng, "lymphocyte", points)


def draw_alveoli(canvas: Canvas, region: Mask, rng: np.random.Generator) -> Mask:
    """Turn ``region`` (H, W) into air spaces with thin walls; return the air."""
    height, width = region.shape
    small = (height // 2, width // 2)
    seeds = jittered_grid(rng, small, 62, 0.3)
    walls = cv2.GaussianBlur(borders_between(nearest_seed(seeds, small)).astype(np.float32), (0, 0), 3.0)
    walls = walls / walls.max() + 0.1 * smooth_noise(rng, small, 9)
    wall = resized(walls, (width, height)) > 0.27
    air = region & ~wall
    canvas.eosin[air] = 0
    canvas.haematoxylin[air] = 0
    points = _inside(jittered_grid(rng, region.shape, 17, 0.4), region & wall)
    place(canvas.haematoxylin, rng, "pneumocyte", points[rng.random(len(points)) < 0.6])
    macrophages = _inside(jittered_grid(rng, region.shape, 90, 0.4), air)
    for x, y in macrophages[rng.random(len(macrophages)) < 0.25].tolist():
        cv2.circle(canvas.eosin, (x, y), int(rng.integers(9, 13)), 105, -1, cv2.LINE_AA)
        place(canvas.haematoxylin, rng, "lymphocyte", np.array([[x, y]]))
    return air


def draw_vessels(canvas: Canvas, stroma: Mask, rng: np.random.Generator) -> list[Disc]:
    """Draw blood vessels with red blood cells in ``stroma`` (H, W); return their lumina."""
    room = np.ascontiguousarray(stroma[::COARSE, ::COARSE])
    lumina = []
    for x, y, radius in pack_discs(rng, room, rng.uniform(3, VESSEL, 200), 18, tries=80) * COARSE:
        theta = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        shape = radius * 0.75 * (1 + 0.12 * np.cos(2 * theta + rng.uniform(0, 6)) + 0.05 * rng.standard_normal(40))
        outline = np.stack([x + shape * np.cos(theta), y + shape * np.sin(theta)], 1)
        cv2.polylines(canvas.eosin, [outline.astype(np.int32)], True, 125, max(3, int(radius / 5)), cv2.LINE_AA)
        for stain, level in ((canvas.eosin, 4), (canvas.haematoxylin, 2)):
            cv2.fillPoly(stain, [outline.astype(np.int32)], level, cv2.LINE_AA)
        place(canvas.haematoxylin, rng, "flat", outline[::4], theta[::4] + np.pi / 2)
        for _ in range(int(radius * rng.uniform(0.2, 1.2))):
            distance, angle = radius * 0.62 * np.sqrt(rng.random()), rng.uniform(0, 6.3)
            center = (int(x + distance * np.cos(angle)), int(y + distance * np.sin(angle)))
            cv2.circle(canvas.eosin, center, 6, int(rng.integers(140, 175)), -1, cv2.LINE_AA)
        lumina.append((float(x), float(y), float(shape.min())))
    return lumina


def _inside(points: NDArray[np.int32], mask: Mask) -> NDArray[np.int32]:
    return points[mask[points[:, 1], points[:, 0]]]
