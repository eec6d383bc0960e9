"""Plan a slide: which part is tissue, tumor, aerated lung and necrosis."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from pipelines.synthetic.noise import COARSE, Mask, coarse_shape, resized, smooth_noise, top_share


@dataclass(frozen=True)
class Plan:
    """Regions of a slide, (H, W) each."""

    tissue: Mask
    tumor: Mask
    """Part of the tissue."""
    solid: Mask
    """Solid sheets; only the part within the tumor counts."""
    lung: Mask
    """Aerated lung; only the part of the tissue outside the tumor counts."""
    dead: Mask
    """Necrotic part of the tumor."""


def draw_plan(rng: np.random.Generator, differentiated: float, necrosis: np.random.Generator | None) -> Plan:
    """Return a random plan.

    Parameters
    ----------
    differentiated
        Share of the tumor that is not solid, 0 to 1.
    necrosis
        Draws the necrotic part; without it there is none.
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
    dead = at_full_size(_dead(necrosis, tumor_map)) & tumor if necrosis else np.zeros_like(tumor)
    return Plan(tissue, tumor, solid, lung, dead)


def _dead(rng: np.random.Generator, tumor: Mask) -> Mask:
    """Return the necrotic part of ``tumor`` on the coarse map, (H, W): away from its edge, where blood is far."""
    core = cv2.distanceTransform(tumor.view(np.uint8), cv2.DIST_L2, 3) > 5
    return top_share(smooth_noise(rng, tumor.shape, 34), core, rng.uniform(0.12, 0.25))


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
