"""Find ink, black and folds on a thumbnail by what absorbs light.

Densities of stain and ink add up where they lie on each other (Beer and Lambert), colours do not.
H&E absorbs green light most, blue the least, and red in between: what absorbs much more blue than
the slide's own tissue does is red, green or black ink; what absorbs more red than green is blue,
green or black ink. How much blue the tissue absorbs differs between scanners (a tenth to two
thirds of the green), so it is measured on every slide; so is the density that a fold exceeds.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.slides.pixels import Rgb, darkest_channel

Pixels = NDArray[np.bool_]
"""(H, W)."""
Density = NDArray[np.uint8]
"""(H, W, 3), optical density of red, green and blue times `SCALE`, no more than `OPAQUE`."""

WHITE = 215
"""Pixels whose darkest channel is above this (of 255) are white."""
SCALE, OPAQUE = 100, 240
"""Of the density -ln(value / 255). A value below 24 lets no light through to speak of, and has no colour."""
_DENSITY = np.minimum(-np.log(np.maximum(np.arange(256), 1) / 255) * SCALE, OPAQUE).round().astype(np.uint8)

TISSUE_GREEN, TISSUE_DARKEST = 25, 450
"""Density of green, and of all colours together, between which a pixel counts as tissue of the slide."""
BLUE_TO_GREEN, BLUE_PERCENTILE = (0.2, 0.65), 85
"""Blue absorbed by tissue as a share of green: this percentile of a slide's tissue, held between these. The
median would take the red-stained part of a blue slide for ink."""
BLUE_MARGIN, BLUE_EXCESS = 0.12, 12
"""Absorbing more blue than this share more of the green, and this density on top, is no stain."""
RED_TO_GREEN, RED_EXCESS = 0.8, 20
"""Red less this share of green, and a quarter of the blue on top, is under this density in any H&E."""
BLUE_INK, GREEN_INK = 0.5, 0.97
"""Ink that absorbs red and blue is blue where blue is under this share of green, else green where
green is under this share of red, else black."""
BROWN = 1.1
"""Blue above this share of green is brown (pigment, DAB): no ink."""
NEUTRAL, NEUTRAL_DENSITY = 0.75, 50
"""Pixels at least this dense in all colours, the least at this share of the most, are black."""
FOLD_DENSITY, FOLD_TIMES, FOLD_EOSIN_TIMES = 220, 1.8, 1.6
"""A fold is denser than this, all colours together; and than so many times the median of the slide's tissue;
and takes so many times as much green beyond red. Crowded nuclei and horn are dense, but not by eosin."""


@dataclass(frozen=True)
class TissueStain:
    """What the tissue of a slide absorbs."""

    blue_to_green: float
    """Density of blue as a share of green, which `BLUE_PERCENTILE` percent of the tissue do not exceed."""
    density: float
    """Median density of the three colours together, times `SCALE`."""
    eosin: float
    """Median density of green beyond that of red, times `SCALE`."""


LEAST_TISSUE = 50
"""Pixels of tissue below which its stain is not measured."""
UNKNOWN_STAIN = TissueStain(0.4, 150.0, 30.0)
"""Of a slide with hardly a pixel of tissue: in the middle of what H&E slides have."""


def optical_density(rgb: Rgb) -> Density:
    """Return the optical densities of pixels."""
    return np.asarray(cv2.LUT(rgb, _DENSITY), np.uint8)


def tissue_stain(density: Density) -> TissueStain:
    """Return the stain of the slide that a thumbnail shows, from some 16,000 pixels of it."""
    step = max(1, max(density.shape) // 128)
    sample = density[::step, ::step].astype(np.float32).reshape(-1, 3)
    total = sample.sum(axis=1)
    tissue = (sample[:, 1] > TISSUE_GREEN) & (total < TISSUE_DARKEST)
    if tissue.sum() < LEAST_TISSUE:
        return UNKNOWN_STAIN
    red, green, blue = sample[tissue].T
    ratio = np.clip(_percentile(blue / green, BLUE_PERCENTILE), *BLUE_TO_GREEN)
    return TissueStain(float(ratio), _percentile(total[tissue], 50), _percentile(green - red, 50))


def _percentile(values: NDArray[np.float32], percent: float) -> float:
    """Return the value of the nearest rank. NumPy's own imports numpy.ma, which takes longer than all else here."""
    rank = round((len(values) - 1) * percent / 100)
    return float(np.partition(values, rank)[rank])


def colour_masks(rgb: Rgb, stain: TissueStain | None = None) -> dict[str, Pixels]:
    """Return (H, W) masks of the pixels that are white, black, folded, or have the colour of an ink.

    Parameters
    ----------
    rgb
        (H, W, 3) uint8, some 16 microns per pixel.
    stain
        Of the slide, measured on ``rgb`` itself where None.
    """
    density = optical_density(rgb)
    stain = stain or tissue_stain(density)
    red, green, blue = cv2.split(density)
    least, most = np.minimum(np.minimum(red, green), blue), np.maximum(np.maximum(red, green), blue)

    takes_blue = _above(blue, stain.blue_to_green + BLUE_MARGIN, green, BLUE_EXCESS)
    takes_red = _above(cv2.addWeighted(red, 1, blue, 0.25, 0), RED_TO_GREEN, green, RED_EXCESS)
    neutral = (least > NEUTRAL_DENSITY) & _above(least, NEUTRAL, most, 0)
    bluish, greenish = ~_above(blue, BLUE_INK, green, 0), _above(red, 1 / GREEN_INK, green, 0)
    takes_both = takes_red & takes_blue & ~bluish & ~neutral
    eosin = cv2.subtract(green, red) > FOLD_EOSIN_TIMES * stain.eosin
    third = cv2.addWeighted(cv2.addWeighted(red, 1 / 3, green, 1 / 3, 0), 1, blue, 1 / 3, 0)
    return {
        "white": darkest_channel(rgb) > WHITE,
        "black": neutral | (takes_both & ~greenish),
        "pen-blue": takes_red & (bluish | ~takes_blue) & ~neutral,
        "pen-green": takes_both & greenish,
        "pen-red": takes_blue & ~takes_red & ~neutral & ~_above(blue, BROWN, green, 0),
        "fold": eosin
        & (third > max(FOLD_DENSITY, FOLD_TIMES * stain.density) / 3)
        & ~(takes_blue | takes_red | neutral),
    }


def _above(first: Density, share: float, second: Density, limit: float) -> Pixels:
    """Return where ``first`` is above ``share`` of ``second`` and ``limit`` on top (the sum saturates at 0)."""
    return np.asarray(cv2.addWeighted(first, 1, second, -share, -limit)) > 0
