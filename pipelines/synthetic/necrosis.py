"""Draw necrosis: dead tumor, granular and eosinophilic, with shrunken nuclei."""

from __future__ import annotations

import cv2
import numpy as np

from pipelines.synthetic.noise import COARSE, Mask, coarse_shape, jittered_grid, resized, smooth_noise
from pipelines.synthetic.nuclei import place
from pipelines.synthetic.stains import Canvas

GRAIN = 512
"""Edge of the texture that is repeated over the slide, pixels."""


def draw_necrosis(canvas: Canvas, region: Mask, rng: np.random.Generator) -> None:
    """Replace what is drawn in ``region`` (H, W) by necrotic debris; dust of nuclei is denser at its edge."""
    if not region.any():
        return
    height, width = region.shape
    grain = cv2.GaussianBlur(rng.standard_normal((GRAIN, GRAIN)), (0, 0), 1.6, borderType=cv2.BORDER_REFLECT)
    grain = np.tile(grain / grain.std(), (height // GRAIN + 1, width // GRAIN + 1))[:height, :width]
    pale = resized(smooth_noise(rng, coarse_shape(region.shape), 9), (width, height))
    canvas.eosin[region] = (104 + 15 * grain[region] + 13 * pale[region]).clip(30, 190)
    canvas.haematoxylin[region] = (24 + 7 * grain[region]).clip(4, 60)
    depth = cv2.distanceTransform(region[::COARSE, ::COARSE].astype(np.uint8), cv2.DIST_L2, 3) * COARSE
    points = jittered_grid(rng, region.shape, 15, 0.4)
    inner = depth[points[:, 1] // COARSE, points[:, 0] // COARSE]
    keep = (inner > 8) & (rng.random(len(points)) < 0.10 + 0.4 * np.exp(-inner / 25))
    dust = np.zeros_like(canvas.haematoxylin)
    place(dust, rng, "pyknotic", points[keep])
    np.maximum(canvas.haematoxylin, dust, out=canvas.haematoxylin, where=region)
