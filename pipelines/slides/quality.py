"""Judge the quality of tiles: ink, white, black, folds, low contrast and blur.

Ink, white, black and folds are colors and are measured on the thumbnail, so no pixels have to be read.
Focus and contrast need pixels, which are read at 2 microns per pixel. A blur of 2 um (standard deviation)
or more is then detected almost without error. At 4 microns per pixel only strong blur is detected; halving
the microns per pixel reads four times as many pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.core.errors import SlideError
from pipelines.core.settings import TileSettings
from pipelines.slides.absorbance import WHITE, color_masks
from pipelines.slides.grid import Grid, tile_means
from pipelines.slides.pixels import Rgb
from pipelines.slides.slide import Slide, Thumbnail

PIXEL_MPP = 2.0
"""Microns per pixel at which focus and contrast are measured."""
PENS = ("pen-blue", "pen-green", "pen-red")
REASONS = ("unreadable", "background", "black", *PENS, "white", "fold", "low-contrast", "blurred")
"""Reasons why a tile is rejected. If several apply, the first one in this order is recorded."""

Scores = NDArray[np.float32]
"""(N,), one score per tile."""


@dataclass(frozen=True)
class Quality:
    """Scores of N tiles and reasons for rejection."""

    white: Scores
    """Fraction of the tile that is white, 0 to 1; likewise ``black``, ``pen`` and ``fold``."""
    black: Scores
    pen: Scores
    fold: Scores
    focus: Scores
    """NaN if not measured: tiles already rejected for another reason, or slides coarser than 2 um per pixel."""
    contrast: Scores
    """Standard deviation, gray levels; NaN where ``focus`` is NaN."""
    reason: NDArray[np.str_]
    """(N,), one of `REASONS`, or an empty string for kept tiles."""


def judge_tiles(
    slide: Slide, grid: Grid, tissue_fraction: Scores, thumbnail: Thumbnail, settings: TileSettings
) -> Quality:
    """Return scores and reasons of the tiles of ``grid``."""
    masks = color_masks(thumbnail.rgb)
    fractions = {name: tile_means(mask, grid, thumbnail.downsample) for name, mask in masks.items()}
    pens = np.stack([fractions[pen] for pen in PENS])
    failed = {
        "unreadable": unreadable_share(grid, thumbnail) > 0,
        "background": tissue_fraction < settings.min_tissue,
        "black": fractions["black"] > settings.max_black,
        "white": fractions["white"] > settings.max_white,
        "fold": fractions["fold"] > settings.max_fold,
    }
    for index, pen in enumerate(PENS):
        failed[pen] = (pens.sum(axis=0) > settings.max_pen) & (pens.argmax(axis=0) == index)
    focus, contrast = np.full((2, len(grid)), np.nan, np.float32)
    if settings.min_focus > 0 or settings.min_contrast > 0:
        passed = ~np.any(list(failed.values()), axis=0)
        focus[passed], contrast[passed], unreadable = _focus_and_contrast(slide, grid.where(passed))
        failed["unreadable"][passed] |= unreadable
    failed["blurred"] = focus < settings.min_focus  # False for NaN
    failed["low-contrast"] = contrast < settings.min_contrast
    return Quality(
        white=fractions["white"],
        black=fractions["black"],
        pen=pens.sum(axis=0),
        fold=fractions["fold"],
        focus=focus,
        contrast=contrast,
        reason=_first_reason(failed, len(grid)),
    )


def unreadable_share(grid: Grid, thumbnail: Thumbnail) -> Scores:
    """Return the fraction of each tile that is unreadable in the thumbnail, (N,)."""
    return tile_means(~thumbnail.readable, grid, thumbnail.downsample)


def _first_reason(failed: Mapping[str, NDArray[np.bool_]], n_tiles: int) -> NDArray[np.str_]:
    reason = np.full(n_tiles, "", dtype=f"<U{max(map(len, REASONS))}")
    for name in reversed(REASONS):
        reason[failed[name]] = name
    return reason


def _focus_and_contrast(slide: Slide, grid: Grid) -> tuple[Scores, Scores, NDArray[np.bool_]]:
    """Return the sharpness and contrast of each tile, and which tiles are unreadable."""
    scores, unreadable = np.full((len(grid), 2), np.nan, np.float32), np.zeros(len(grid), bool)
    mpp = slide.micron_scale.mean
    if mpp <= PIXEL_MPP:
        edge = max(8, round(grid.size * mpp / PIXEL_MPP))
        for index, (x, y) in enumerate(zip(grid.x.tolist(), grid.y.tolist(), strict=True)):
            try:
                scores[index] = sharpness_and_contrast(slide.read_tile(x, y, grid.size, edge))
            except SlideError:
                unreadable[index] = True
    return scores[:, 0], scores[:, 1], unreadable


def sharpness_and_contrast(rgb: Rgb) -> tuple[float, float]:
    """Return the sharpness and contrast of the pixels that are not white; both are 0 if all are white.

    Sharpness is the mean squared Laplacian divided by the standard deviation. Without the division, pale
    tissue would count as blurred and blurred dense tissue as sharp. Contrast is the standard deviation,
    in gray levels.
    """
    gray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    edges = cv2.Laplacian(gray, cv2.CV_32F)
    tissue = (gray <= WHITE).view(np.uint8)
    tissue[0], tissue[-1], tissue[:, 0], tissue[:, -1] = 0, 0, 0, 0  # the border has no outer neighbors
    n_pixels = cv2.countNonZero(tissue)
    if not n_pixels:
        return 0.0, 0.0
    # sums from cv2.norm are several times faster than cv2.meanStdDev on so few pixels
    mean = cv2.norm(gray, cv2.NORM_L1, tissue) / n_pixels
    deviation = math.sqrt(max(0.0, cv2.norm(gray, cv2.NORM_L2SQR, tissue) / n_pixels - mean**2))
    return cv2.norm(edges, cv2.NORM_L2SQR, tissue) / n_pixels / max(deviation, 1.0), deviation
