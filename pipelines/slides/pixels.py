"""Pixel arrays of slides: their type and basic operations."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Rgb = NDArray[np.uint8]
"""(height, width, 3), uint8, red first."""


def over_white(rgba: NDArray[np.uint8]) -> Rgb:
    """Return pixels (H, W, 4) with straight alpha composited over white, (H, W, 3) uint8."""
    rgb: Rgb = cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB)
    alpha = rgba[..., 3]
    if alpha.min() == 255:
        return rgb
    opacity = alpha[..., None].astype(np.float32) / 255
    return (rgb * opacity + 255 * (1 - opacity) + 0.5).astype(np.uint8)


def resampled(rgb: Rgb, size: tuple[int, int]) -> Rgb:
    """Return ``rgb`` resized to ``size`` (width, height): area mean to reduce, linear to enlarge."""
    height, width = rgb.shape[:2]
    if (width, height) == size:
        return rgb
    down = width >= size[0] and height >= size[1]
    out: Rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA if down else cv2.INTER_LINEAR)
    return out


def darkest_channel(rgb: Rgb) -> NDArray[np.uint8]:
    """Return the minimum of the three channels, (H, W); many times faster than ``rgb.min(axis=2)``."""
    return np.minimum(np.minimum(rgb[..., 0], rgb[..., 1]), rgb[..., 2])


def brightest_channel(rgb: Rgb) -> NDArray[np.uint8]:
    """Return the maximum of the three channels, (H, W); many times faster than ``rgb.max(axis=2)``."""
    return np.maximum(np.maximum(rgb[..., 0], rgb[..., 1]), rgb[..., 2])
