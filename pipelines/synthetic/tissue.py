"""Draw one slide: pieces of tissue with tumor, stroma and lung, stained and scanned."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import cv2
import numpy as np

from pipelines.synthetic.growth import draw_glands, draw_nests, draw_sheet
from pipelines.synthetic.noise import COARSE, Mask, coarse_shape, resized, smooth_noise, top_share
from pipelines.synthetic.stains import RGB, Canvas, Stain, develop
from pipelines.synthetic.stroma import draw_alveoli, draw_collagen, draw_stroma_cells, draw_vessels

MPP = 0.5
"""Microns per pixel of every drawn slide."""

GROWTH: Mapping[str, Callable[[Canvas, Mask, np.random.Generator], None]] = {
    "glands": draw_glands,
    "nests": draw_nests,
}
"""Functions that draw the differentiated part of a tumor, by growth pattern."""


def draw_tissue(rng: np.random.Generator, growth: str, differentiated: float, stain: Stain) -> RGB:
    """Return the pixels of a slide at `MPP`, (H, W, 3).

    Parameters
    ----------
    growth
        A key of `GROWTH`.
    differentiated
        Share of the tumor with that growth pattern, 0 to 1; the rest is solid sheets, which look the same for all.
    """
    width, height = (int(side) // 64 * 64 for side in rng.uniform((3400, 2900), (4400, 3600)))
    small = coarse_shape((height, width))
    tissue_map = _pieces(rng, small)
    tumor_map = top_share(smooth_noise(rng, small, 90), tissue_map, rng.uniform(0.55, 0.75))
    solid_map = top_share(smooth_noise(rng, small, 60), tumor_map, 1 - differentiated)
    lung_map = top_share(smooth_noise(rng, small, 110), tissue_map & ~tumor_map, rng.uniform(0.2, 0.6))
    rough = (0.22 * smooth_noise(rng, (height, width), 16)).clip(-0.4, 0.4)

    def at_full_size(plan: Mask) -> Mask:
        soft = cv2.GaussianBlur(plan.astype(np.float32), (0, 0), 1.5)
        full: Mask = resized(soft, (width, height), cv2.INTER_CUBIC) + rough > 0.5
        return full

    tissue, tumor, solid, lung = (at_full_size(plan) for plan in (tissue_map, tumor_map, solid_map, lung_map))
    tumor &= tissue
    canvas = Canvas.blank(width, height)
    direction = draw_collagen(canvas, tissue, rng)
    draw_stroma_cells(canvas, tissue, direction, rng)
    draw_vessels(canvas, tissue & ~tumor & ~lung, rng)
    draw_alveoli(canvas, tissue & lung & ~tumor, rng)
    GROWTH[growth](canvas, tumor & ~solid, rng)
    draw_sheet(canvas, tumor & solid, rng, spacing=20, gaps=0.25)
    _scan(canvas, tissue, rng)
    return develop(canvas, tissue, stain)


def _scan(canvas: Canvas, tissue: Mask, rng: np.random.Generator) -> None:
    """Add grain and the blur of a scanner's lens, in place."""
    grain = rng.integers(205, 256, (512, 512), dtype=np.uint8)
    height, width = tissue.shape
    tiled = np.tile(grain, (height // 512 + 1, width // 512 + 1))[:height, :width]
    for stain_map in (canvas.haematoxylin, canvas.eosin):
        stain_map[~tissue] = 0
        cv2.multiply(stain_map, tiled, dst=stain_map, scale=1 / 230)
        cv2.GaussianBlur(stain_map, (0, 0), 0.75, dst=stain_map)


def _pieces(rng: np.random.Generator, shape: tuple[int, int]) -> Mask:
    """Return one to three irregular pieces of tissue on the coarse map, (H, W)."""
    height, width = shape
    y, x = np.mgrid[:height, :width]
    count = int(rng.integers(1, 4))
    field = np.full(shape, -9.0)
    for piece in range(count):
        center_x = width * (piece + 0.5 + rng.uniform(-0.08, 0.08)) / count
        center_y = height * rng.uniform(0.44, 0.56)
        distance = np.hypot((x - center_x) / (0.45 * width / count), (y - center_y) / (0.44 * height))
        field = np.maximum(field, 1 - distance)
    border = np.minimum(np.minimum(x, width - 1 - x), np.minimum(y, height - 1 - y))
    field -= 0.6 * np.clip(1 - border / 26, 0, 1)
    field = field + 0.16 * smooth_noise(rng, shape, 70) + 0.035 * smooth_noise(rng, shape, 14)
    megapixels = rng.uniform(5.0, 6.4)
    share = megapixels * 1e6 / (height * width * COARSE**2)
    return top_share(field.astype(np.float32), border > 6, share)
