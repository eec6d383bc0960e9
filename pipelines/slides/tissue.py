"""Detect tissue on a thumbnail of the slide."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.slides.pixels import Rgb, brightest_channel, darkest_channel

Mask = NDArray[np.bool_]
"""(H, W), True where there is tissue."""

SATURATION_LIMITS = (15, 40)
"""Limits of Otsu's threshold on saturation (0 to 255): glass, even if tinted, is below 15, H&E tissue is above 40.
Without them, the threshold would split the noise of a blank slide, or the tissue of a slide without background."""
MIN_CONTRAST = 10
"""Minimum difference in mean saturation (0 to 255) between tissue and glass; below it, only one is present."""
DARK = 50
"""Pixels whose brightest channel is below this (0 to 255) are opaque and not tissue."""
SMOOTHING_MICRONS, GAP_MICRONS, SPECK_MICRONS = 48.0, 80.0, 48.0
"""Width of the median window, of gaps that are closed, and of specks that are removed, microns."""


def tissue_mask(rgb: Rgb, mpp: float, *, method: str = "otsu", min_area_mm2: float = 0.05) -> Mask:
    """Return where the thumbnail shows tissue.

    The mask is empty for blank slides and for fluorescence slides.

    Parameters
    ----------
    rgb
        (H, W, 3) uint8 thumbnail.
    mpp
        Microns per pixel of the thumbnail.
    method
        A key of `METHODS`.
    min_area_mm2
        Smaller pieces are removed and smaller holes are filled, mm2.
    """
    if not is_brightfield(rgb):
        return np.zeros(rgb.shape[:2], bool)
    hsv = cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV)
    hsv[..., 1] = cv2.medianBlur(np.ascontiguousarray(hsv[..., 1]), _odd(SMOOTHING_MICRONS / mpp))
    mask = METHODS[method](hsv) & (hsv[..., 2] >= DARK)
    mask = _morphology(mask, cv2.MORPH_CLOSE, GAP_MICRONS / mpp)
    mask = _morphology(mask, cv2.MORPH_OPEN, SPECK_MICRONS / mpp)
    return without_small_areas(mask, mpp, min_area_mm2)


def is_brightfield(rgb: Rgb) -> bool:
    """Return True for brightfield slides, False for fluorescence slides.

    Fluorescence is bright in one or two channels only. In brightfield, the darkest channel of most
    pixels is bright as well.
    """
    lit = darkest_channel(rgb)[brightest_channel(rgb) >= DARK]
    return len(lit) > 0 and bool(np.median(lit) >= DARK)


def _otsu(hsv: NDArray[np.uint8]) -> Mask:
    saturation, value = hsv[..., 1], hsv[..., 2]
    lit = saturation[value >= DARK]
    split, _ = cv2.threshold(lit.reshape(-1, 1), 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    low, high = SATURATION_LIMITS
    upper, lower = lit[lit > split], lit[lit <= split]
    one_class = not len(upper) or not len(lower) or upper.mean() - lower.mean() < MIN_CONTRAST
    threshold = high if one_class else min(max(split, low), high)
    return np.asarray(saturation > threshold)


def _hsv(hsv: NDArray[np.uint8]) -> Mask:
    """Return pixels with the hues of hematoxylin and eosin (violet to red) and some saturation; excludes other inks."""
    hue, saturation = hsv[..., 0], hsv[..., 1]
    stained = (hue >= 118) | (hue <= 12)  # OpenCV measures hue in half degrees
    return np.asarray(stained & (saturation > 20))


METHODS: dict[str, Callable[[NDArray[np.uint8]], Mask]] = {"otsu": _otsu, "hsv": _hsv}


def _odd(pixels: float) -> int:
    """Return the odd number closest to ``pixels``; odd windows are centered, so the filter does not shift the image."""
    return 2 * round((pixels - 1) / 2) + 1 if pixels > 1 else 1


def _morphology(mask: Mask, operation: int, pixels: float) -> Mask:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_odd(pixels), _odd(pixels)))
    return np.asarray(cv2.morphologyEx(mask.astype(np.uint8), operation, kernel), bool)


def without_small_areas(mask: Mask, mpp: float, min_area_mm2: float) -> Mask:
    """Return ``mask`` without pieces and holes smaller than ``min_area_mm2``."""
    min_pixels = min_area_mm2 * 1e6 / mpp**2
    mask = without_small_pieces(mask, min_pixels)
    return ~without_small_pieces(~mask, min_pixels, keep_at_edge=True)


def without_small_pieces(mask: Mask, min_pixels: float, *, keep_at_edge: bool = False) -> Mask:
    """Return ``mask`` without connected pieces of fewer than ``min_pixels`` pixels.

    Applied to an inverted mask, it fills holes. ``keep_at_edge`` then keeps background that touches
    the border, which is not a hole.
    """
    n, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    keep = stats[:, cv2.CC_STAT_AREA] >= min_pixels
    if keep_at_edge:
        border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
        keep[border] = True
    keep[0] = False
    return np.asarray(keep[labels]) if n > 1 else np.zeros_like(mask)
