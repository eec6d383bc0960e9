"""Judge tiles: ink, white, black and out of focus, with the score and the reason kept.

Ink, white and black are colours and are measured on the thumbnail, which costs no reading.
Focus needs pixels: at 2 microns per pixel a blur of 1.5 um (standard deviation) or more is told
from sharp tissue almost without error, at 4 um only gross blur is; finer costs four times the reading.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.core.errors import SlideError
from pipelines.core.settings import TileSettings
from pipelines.slides.grid import Grid, tile_means
from pipelines.slides.readers import Rgb, darkest_channel
from pipelines.slides.slide import Slide, Thumbnail

FOCUS_MPP = 2.0
"""Microns per pixel at which focus is measured."""
WHITE = 215
"""Pixels whose darkest channel is above this (of 255) are white."""
BLACK = 55
"""Pixels whose brightest channel is below this (of 255) are black, unless they have the colour of ink."""
COLOURED = 25
"""Pixels whose brightest channel is below this (of 255) have no colour to speak of."""
PEN_COLOURS = ("blue", "green", "red")
REASONS = ("unreadable", "background", "black", *(f"pen-{colour}" for colour in PEN_COLOURS), "white", "blurred")
"""Why a tile is not kept; of several the first is recorded."""

Scores = NDArray[np.float32]
"""(N,), one a tile."""


@dataclass(frozen=True)
class Quality:
    """Scores and verdict of N tiles."""

    white: Scores
    black: Scores
    pen: Scores
    focus: Scores
    """NaN where not measured: tiles that have another reason, or slides coarser than 2 um/px."""
    reason: NDArray[np.str_]
    """(N,), one of `REASONS` or an empty string."""


def judge_tiles(
    slide: Slide, grid: Grid, tissue_fraction: Scores, thumbnail: Thumbnail, settings: TileSettings
) -> Quality:
    """Return scores and reasons of the tiles of ``grid``."""
    pixels = colour_masks(thumbnail.rgb)
    shares = {name: tile_means(mask, grid, thumbnail.downsample) for name, mask in pixels.items()}
    pens = np.stack([shares[f"pen-{colour}"] for colour in PEN_COLOURS])
    failed = {
        "unreadable": unreadable_share(grid, thumbnail) > 0,
        "background": tissue_fraction < settings.min_tissue,
        "black": shares["black"] > settings.max_black,
        "white": shares["white"] > settings.max_white,
    }
    for index, colour in enumerate(PEN_COLOURS):
        failed[f"pen-{colour}"] = (pens.sum(axis=0) > settings.max_pen) & (pens.argmax(axis=0) == index)
    focus = np.full(len(grid), np.nan, np.float32)
    if settings.min_focus > 0:
        sound = ~np.any(list(failed.values()), axis=0)
        focus[sound], failed_reads = _focus(slide, grid.where(sound))
        failed["unreadable"][sound] |= failed_reads
    failed["blurred"] = focus < settings.min_focus  # False for NaN
    return Quality(shares["white"], shares["black"], pens.sum(axis=0), focus, _first_reason(failed, len(grid)))


def unreadable_share(grid: Grid, thumbnail: Thumbnail) -> Scores:
    """Return the share of each tile that the thumbnail could not be read for, (N,)."""
    return tile_means(~thumbnail.readable, grid, thumbnail.downsample)


def _first_reason(failed: Mapping[str, NDArray[np.bool_]], n_tiles: int) -> NDArray[np.str_]:
    reason = np.full(n_tiles, "", dtype=f"<U{max(map(len, REASONS))}")
    for name in reversed(REASONS):
        reason[failed[name]] = name
    return reason


def colour_masks(rgb: Rgb) -> dict[str, NDArray[np.bool_]]:
    """Return (H, W) masks of the pixels that are white, black, or have the colour of an ink.

    Ink is told from stain by hue and saturation: H&E has no green; blue ink is bluer and
    stronger than haematoxylin; red ink is more saturated than eosin and blood.
    """
    hsv = cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV)
    hue, saturation, value = hsv[..., 0], hsv[..., 1], hsv[..., 2]  # hue in half degrees
    coloured = value >= COLOURED
    blue = (hue >= 95) & (((hue < 115) & (saturation > 100)) | ((hue < 126) & (saturation > 165)))
    pens = {
        "pen-blue": coloured & blue,
        "pen-green": coloured & (hue >= 32) & (hue < 95) & (saturation > 60),
        "pen-red": (value >= BLACK) & ((hue >= 174) | (hue <= 8)) & (saturation > 180),
    }
    ink = np.any(list(pens.values()), axis=0)
    return {"white": darkest_channel(rgb) > WHITE, "black": (value < BLACK) & ~ink, **pens}


def _focus(slide: Slide, grid: Grid) -> tuple[Scores, NDArray[np.bool_]]:
    """Return the sharpness of each tile and which could not be read."""
    scores, unreadable = np.full(len(grid), np.nan, np.float32), np.zeros(len(grid), bool)
    mpp = slide.micron_scale.mean
    if mpp > FOCUS_MPP:
        return scores, unreadable
    edge = max(8, round(grid.size * mpp / FOCUS_MPP))
    for index, (x, y) in enumerate(zip(grid.x.tolist(), grid.y.tolist(), strict=True)):
        try:
            scores[index] = sharpness(slide.read_tile(x, y, grid.size, edge))
        except SlideError:
            unreadable[index] = True
    return scores, unreadable


def sharpness(rgb: Rgb) -> float:
    """Return the mean squared Laplacian of the pixels that are not white, grey levels squared."""
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    edges = cv2.Laplacian(grey, cv2.CV_32F)[1:-1, 1:-1]
    tissue = (grey[1:-1, 1:-1] <= WHITE).view(np.uint8)
    n_pixels = cv2.countNonZero(tissue)
    return cv2.norm(edges, cv2.NORM_L2SQR, tissue) / n_pixels if n_pixels else 0.0
