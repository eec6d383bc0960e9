"""Detect ink, black areas and folds on a thumbnail from their optical densities.

Optical densities add up where stain and ink overlap (Beer-Lambert law); colors do not. H&E absorbs
green light most, red less, and blue least. Pixels that absorb much more blue than the slide's own
tissue are red, green or black ink. Pixels that absorb more red than green are blue, green or black
ink. The share of blue that tissue absorbs differs between scanners (a tenth to two thirds of the
green), so it is measured on every slide, as is the density that a fold exceeds.
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
"""(H, W, 3), optical density of red, green and blue times `SCALE`, at most `OPAQUE`."""

WHITE = 215
"""Pixels whose darkest channel is above this (0 to 255) are white."""
SCALE, OPAQUE = 100, 240
"""Factor and maximum of the density -ln(value / 255). Pixel values below 24 are nearly opaque and have no color."""
_DENSITY = np.minimum(-np.log(np.maximum(np.arange(256), 1) / 255) * SCALE, OPAQUE).round().astype(np.uint8)

TISSUE_GREEN, TISSUE_DARKEST = 25, 450
"""Tissue pixels have a green density above the first, and a total density (all colors) below the second."""
BLUE_TO_GREEN, BLUE_PERCENTILE = (0.2, 0.65), 85
"""Blue absorbed by tissue relative to green: this percentile over a slide's tissue, clipped to these limits.
With the median, the red-stained part of a mostly blue slide would count as ink."""
BLUE_MARGIN, BLUE_EXCESS = 0.12, 12
"""Ink absorbs blue by more than (the tissue's ratio + BLUE_MARGIN) times green, plus BLUE_EXCESS."""
RED_TO_GREEN, RED_EXCESS = 0.8, 20
"""In H&E, red - RED_TO_GREEN * green + blue / 4 is below RED_EXCESS."""
BLUE_INK, GREEN_INK = 0.5, 0.97
"""Ink that absorbs red and blue is blue if blue is below BLUE_INK times green, else green if green is
below GREEN_INK times red, else black."""
BROWN = 1.1
"""Pixels with blue above this times green are brown (pigment, DAB), not ink."""
NEUTRAL, NEUTRAL_DENSITY = 0.75, 50
"""Black pixels have a lowest density above NEUTRAL_DENSITY and above NEUTRAL times their highest."""
FOLD_DENSITY, FOLD_TIMES, FOLD_EOSIN_TIMES = 220, 1.8, 1.6
"""A fold's total density is above FOLD_DENSITY and above FOLD_TIMES the median of the slide's tissue, and its
eosin is above FOLD_EOSIN_TIMES the median. Crowded nuclei and keratin are as dense, but not in eosin."""


@dataclass(frozen=True)
class TissueStain:
    """Absorption of the tissue of a slide."""

    blue_to_green: float
    """Density of blue relative to green, at `BLUE_PERCENTILE` of the tissue pixels."""
    density: float
    """Median total density of the three colors, times `SCALE`."""
    eosin: float
    """Median of green minus red density, times `SCALE`."""


MIN_TISSUE_PIXELS = 50
"""Minimum number of tissue pixels for measuring the stain."""
UNKNOWN_STAIN = TissueStain(0.4, 150.0, 30.0)
"""Stain assumed for slides with almost no tissue: mid-range values of H&E slides."""


def optical_density(rgb: Rgb) -> Density:
    """Return the optical densities of pixels (H, W, 3), uint8."""
    return np.asarray(cv2.LUT(rgb, _DENSITY), np.uint8)


def tissue_stain(density: Density) -> TissueStain:
    """Return the stain of a slide, measured on about 16,000 pixels of its thumbnail."""
    step = max(1, max(density.shape) // 128)
    sample = density[::step, ::step].astype(np.float32).reshape(-1, 3)
    total = sample.sum(axis=1)
    tissue = (sample[:, 1] > TISSUE_GREEN) & (total < TISSUE_DARKEST)
    if tissue.sum() < MIN_TISSUE_PIXELS:
        return UNKNOWN_STAIN
    red, green, blue = sample[tissue].T
    ratio = np.clip(_percentile(blue / green, BLUE_PERCENTILE), *BLUE_TO_GREEN)
    return TissueStain(float(ratio), _percentile(total[tissue], 50), _percentile(green - red, 50))


def _percentile(values: NDArray[np.float32], percent: float) -> float:
    """Return the nearest-rank percentile. NumPy's version imports numpy.ma, which takes longer than all other steps."""
    rank = round((len(values) - 1) * percent / 100)
    return float(np.partition(values, rank)[rank])


def color_masks(rgb: Rgb, stain: TissueStain | None = None) -> dict[str, Pixels]:
    """Return (H, W) masks of white, black, folded and inked pixels, one per ink color.

    Parameters
    ----------
    rgb
        (H, W, 3) uint8, about 16 microns per pixel.
    stain
        Stain of the slide; None to measure it on ``rgb``.
    """
    density = optical_density(rgb)
    stain = stain or tissue_stain(density)
    red, green, blue = cv2.split(density)
    lowest, highest = np.minimum(np.minimum(red, green), blue), np.maximum(np.maximum(red, green), blue)

    takes_blue = _above(blue, stain.blue_to_green + BLUE_MARGIN, green, BLUE_EXCESS)
    takes_red = _above(cv2.addWeighted(red, 1, blue, 0.25, 0), RED_TO_GREEN, green, RED_EXCESS)
    neutral = (lowest > NEUTRAL_DENSITY) & _above(lowest, NEUTRAL, highest, 0)
    bluish, greenish = ~_above(blue, BLUE_INK, green, 0), _above(red, 1 / GREEN_INK, green, 0)
    takes_both = takes_red & takes_blue & ~bluish & ~neutral
    eosin = cv2.subtract(green, red) > FOLD_EOSIN_TIMES * stain.eosin
    mean = cv2.addWeighted(cv2.addWeighted(red, 1 / 3, green, 1 / 3, 0), 1, blue, 1 / 3, 0)
    return {
        "white": darkest_channel(rgb) > WHITE,
        "black": neutral | (takes_both & ~greenish),
        "pen-blue": takes_red & (bluish | ~takes_blue) & ~neutral,
        "pen-green": takes_both & greenish,
        "pen-red": takes_blue & ~takes_red & ~neutral & ~_above(blue, BROWN, green, 0),
        "fold": eosin
        & (mean > max(FOLD_DENSITY, FOLD_TIMES * stain.density) / 3)
        & ~(takes_blue | takes_red | neutral),
    }


def _above(first: Density, factor: float, second: Density, excess: float) -> Pixels:
    """Return where ``first`` exceeds ``factor * second + excess`` (the uint8 difference saturates at 0)."""
    return np.asarray(cv2.addWeighted(first, 1, second, -factor, -excess)) > 0
