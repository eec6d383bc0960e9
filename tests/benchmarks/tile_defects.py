"""Add defects of scanned slides to sound tiles: ink, blur, folds, pale stain, bare glass, black edges.

Every tile is (224, 224, 3) uint8 RGB at 0.5 microns per pixel. A defect covers at least `MIN_COVER`
of its tile, so that the tile should be dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Rgb = NDArray[np.uint8]
Rng = np.random.Generator
Make = Callable[[Rng, Rgb, Rgb], Rgb]
"""Function of a generator, a tile and a second tile of the same source; returns the tile with the defect."""

MPP = 0.5
"""Assumed resolution of the tiles, microns per pixel."""
MIN_COVER = 0.35
"""Minimum share of a tile that a stroke, a fold or an edge covers."""
INKS: Mapping[str, tuple[tuple[int, int, int], ...]] = {
    "blue": ((25, 45, 160), (45, 80, 200), (20, 30, 110)),
    "green": ((15, 110, 60), (50, 150, 90), (0, 85, 60)),
    "red": ((200, 25, 40), (225, 50, 60), (165, 15, 25)),
    "black": ((25, 25, 30), (45, 42, 45), (35, 40, 55)),
}
"""RGB of a thick layer of each ink on white, in several shades."""
OPACITIES = (0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Defect:
    """A kind of defect."""

    filter: str
    """Reason that ``five tile`` should record for it."""
    name: str
    make: Make
    also: tuple[str, ...] = ()
    """Other reasons that are also correct."""

    def is_named(self, reason: str) -> bool:
        """Return whether ``reason`` is correct for this defect."""
        return reason in (self.filter, *self.also)


def defects() -> Iterator[Defect]:
    """Yield all defects of the benchmark."""
    for microns in (1.5, 2, 3, 5):
        yield Defect("blurred", f"gaussian, sigma {microns:g} um", gaussian_blur(microns))
    for microns in (8, 16):
        yield Defect("blurred", f"motion over {microns} um", motion_blur(microns))
    for color in INKS:
        name = "black" if color == "black" else f"pen-{color}"
        for ground in ("tissue", "glass"):
            for opacity in OPACITIES:
                stroke = pen_stroke(color, opacity, on_glass=ground == "glass")
                also = ("background",) if ground == "glass" else ()
                yield Defect(name, f"{color} on {ground}, opacity {opacity:g}", stroke, also)
    yield Defect("black", "black edge", black_edge)
    for name, make in (("clean", glass), ("JPEG noise", jpeg_glass), ("tinted, uneven", tinted_glass)):
        yield Defect("background", f"glass, {name}", make, ("white",))
    yield Defect("fold", "two layers in a band", folded)
    yield Defect("fold", "two layers all over", doubled)
    for density in (1.6, 2.0):
        yield Defect("fold", f"band stained {density:g} times", over_stained(density))
    for density in (0.35, 0.2, 0.1):
        yield Defect("low-contrast", f"faded to {density:g} of the stain", faded(density), ("white",))
    for share in (0.3, 0.15):
        yield Defect("low-contrast", f"hazed to {share:g} of the contrast", hazed(share))


def gaussian_blur(sigma_microns: float) -> Make:
    """Return a Gaussian blur with this standard deviation in microns, as from an out-of-focus lens."""
    return lambda _, tile, __: cv2.GaussianBlur(tile, (0, 0), sigma_microns / MPP, borderType=cv2.BORDER_REFLECT)


def motion_blur(length_microns: float) -> Make:
    """Return a blur along a line of this length in a random direction, as from a moving scanner stage."""

    def make(rng: Rng, tile: Rgb, _: Rgb) -> Rgb:
        edge = int(length_microns / MPP) | 1
        angle, middle = rng.uniform(0, np.pi), edge // 2
        kernel = np.zeros((edge, edge), np.float32)
        step = np.array([np.cos(angle), np.sin(angle)]) * middle
        ends = [tuple(np.rint(middle + sign * step).astype(int).tolist()) for sign in (-1, 1)]
        cv2.line(kernel, ends[0], ends[1], 1.0)
        return cv2.filter2D(tile, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT)

    return make


def pen_stroke(color: str, opacity: float, *, on_glass: bool) -> Make:
    """Return a wide, partly transparent stroke of ink that absorbs light in each color channel."""

    def make(rng: Rng, tile: Rgb, _: Rgb) -> Rgb:
        ground = glass(rng, tile, tile) if on_glass else tile
        shades = INKS[color]
        ink = np.array(shades[rng.integers(len(shades))], np.float32) / 255
        film = _band(rng, tile.shape[:2])[..., None] * opacity
        return _as_rgb(ground * (1 - film + film * ink))

    return make


def black_edge(rng: Rng, tile: Rgb, _: Rgb) -> Rgb:
    """Blacken one side, as at the border of the scanned area."""
    blackened = np.rot90(tile, rng.integers(4)).copy()
    blackened[: round(rng.uniform(MIN_COVER, 1) * len(blackened))] = rng.integers(0, 25)
    return blackened


def glass(rng: Rng, tile: Rgb, _: Rgb) -> Rgb:
    """Replace the tile by bare glass."""
    return np.broadcast_to(_glass_color(rng), tile.shape).astype(np.uint8)


def jpeg_glass(rng: Rng, tile: Rgb, other: Rgb) -> Rgb:
    """Replace the tile by bare glass with sensor noise and strong JPEG compression."""
    noisy = _as_rgb(glass(rng, tile, other) + rng.normal(0, 3, tile.shape))
    _, encoded = cv2.imencode(".jpg", noisy, (cv2.IMWRITE_JPEG_QUALITY, 40))
    return cv2.imdecode(encoded, cv2.IMREAD_COLOR)


def tinted_glass(rng: Rng, tile: Rgb, other: Rgb) -> Rgb:
    """Replace the tile by bare glass with tinted, uneven light."""
    height, width = tile.shape[:2]
    falloff = np.linspace(1, rng.uniform(0.93, 1), width)[None, :, None] * np.ones((height, 1, 1))
    tint = np.array([1, rng.uniform(0.96, 1), rng.uniform(0.94, 1)])
    return _as_rgb(glass(rng, tile, other) * falloff * tint)


def folded(rng: Rng, tile: Rgb, other: Rgb) -> Rgb:
    """Overlay a band of the tile with a second tile, so that light passes through both."""
    band = _band(rng, tile.shape[:2])[..., None]
    layer = np.rot90(other, rng.integers(4)).astype(np.float32) / 255
    return _as_rgb(tile * (1 - band + band * layer))


def doubled(rng: Rng, tile: Rgb, other: Rgb) -> Rgb:
    """Overlay the whole tile with a second tile."""
    return _as_rgb(tile * (np.rot90(other, rng.integers(4)).astype(np.float32) / 255))


def over_stained(factor: float) -> Make:
    """Multiply the stain density of a band by ``factor``."""

    def make(rng: Rng, tile: Rgb, _: Rgb) -> Rgb:
        band = _band(rng, tile.shape[:2])[..., None]
        return _as_rgb(255 * (tile / 255.0) ** (1 + (factor - 1) * band))

    return make


def faded(factor: float) -> Make:
    """Multiply the stain density of the tile by ``factor`` (below 1) and add sensor noise."""
    return lambda rng, tile, _: _as_rgb(255 * (np.maximum(tile, 1) / 255.0) ** factor + rng.normal(0, 1, tile.shape))


def hazed(share: float) -> Make:
    """Reduce the contrast around the mean to ``share``, as from stray light or a dirty cover slip."""

    def make(rng: Rng, tile: Rgb, _: Rgb) -> Rgb:
        mean = tile.mean(axis=(0, 1))
        return _as_rgb(mean + share * (tile - mean) + rng.normal(0, 1, tile.shape))

    return make


def _glass_color(rng: Rng) -> NDArray[np.float64]:
    return rng.uniform(232, 248) + rng.uniform(-2, 2, 3)


def _band(rng: Rng, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return a soft-edged band, (H, W) from 0 to 1, in a random direction that covers at least `MIN_COVER`."""
    height, width = shape
    while True:
        angle, share = rng.uniform(0, np.pi), rng.uniform(MIN_COVER, 1)
        across = np.cos(angle) * np.arange(width)[None, :] + np.sin(angle) * np.arange(height)[:, None]
        across -= np.cos(angle) * width / 2 + np.sin(angle) * height / 2 + rng.uniform(-30, 30)
        band = np.clip(share * width / 2 - np.abs(across) + 0.5, 0, 1).astype(np.float32)
        if band.mean() >= MIN_COVER:
            return cv2.GaussianBlur(band, (0, 0), 2)


def _as_rgb(pixels: NDArray[np.floating]) -> Rgb:
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
