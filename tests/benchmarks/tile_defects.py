"""Defects of scanned slides, added to sound tiles: ink, blur, folds, pale stain, glass, black edges.

Every tile is (224, 224, 3) uint8 RGB at 0.5 microns per pixel. A defect covers at least
`LEAST_COVER` of its tile, so a tile that has one is meant to be dropped.
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
"""Takes a tile and a second one of the same picture, returns the tile with the defect."""

MPP = 0.5
"""Microns per pixel that the tiles are taken to have."""
LEAST_COVER = 0.35
"""Least share of a tile that a stroke, a fold or an edge covers."""
INKS: Mapping[str, tuple[tuple[int, int, int], ...]] = {
    "blue": ((25, 45, 160), (45, 80, 200), (20, 30, 110)),
    "green": ((15, 110, 60), (50, 150, 90), (0, 85, 60)),
    "red": ((200, 25, 40), (225, 50, 60), (165, 15, 25)),
    "black": ((25, 25, 30), (45, 42, 45), (35, 40, 55)),
}
"""RGB of a thick layer of each ink on white, several shades."""
OPACITIES = (0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Defect:
    """One way to spoil a tile."""

    filter: str
    """The reason that ought to be recorded."""
    name: str
    make: Make
    also: tuple[str, ...] = ()
    """Reasons that are as right."""

    def is_named(self, reason: str) -> bool:
        """Tell whether ``reason`` is a right one."""
        return reason in (self.filter, *self.also)


def defects() -> Iterator[Defect]:
    """Yield every defect that the benchmark adds."""
    for microns in (1.5, 2, 3, 5):
        yield Defect("blurred", f"gaussian, sigma {microns:g} um", gaussian_blur(microns))
    for microns in (8, 16):
        yield Defect("blurred", f"motion over {microns} um", motion_blur(microns))
    for colour in INKS:
        name = "black" if colour == "black" else f"pen-{colour}"
        for ground in ("tissue", "glass"):
            for opacity in OPACITIES:
                stroke = pen_stroke(colour, opacity, on_glass=ground == "glass")
                also = ("background",) if ground == "glass" else ()
                yield Defect(name, f"{colour} on {ground}, opacity {opacity:g}", stroke, also)
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
    """Blur as a lens out of focus does, by standard deviation in microns."""
    return lambda _, tile, __: cv2.GaussianBlur(tile, (0, 0), sigma_microns / MPP, borderType=cv2.BORDER_REFLECT)


def motion_blur(length_microns: float) -> Make:
    """Blur along a line in any direction, as a stage that moves during the exposure does."""

    def make(rng: Rng, tile: Rgb, _: Rgb) -> Rgb:
        edge = int(length_microns / MPP) | 1
        angle, middle = rng.uniform(0, np.pi), edge // 2
        kernel = np.zeros((edge, edge), np.float32)
        step = np.array([np.cos(angle), np.sin(angle)]) * middle
        ends = [tuple(np.rint(middle + sign * step).astype(int).tolist()) for sign in (-1, 1)]
        cv2.line(kernel, ends[0], ends[1], 1.0)
        return cv2.filter2D(tile, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT)

    return make


def pen_stroke(colour: str, opacity: float, *, on_glass: bool) -> Make:
    """Draw a wide stroke of ink, a film through which the tissue shows; each channel is absorbed."""

    def make(rng: Rng, tile: Rgb, _: Rgb) -> Rgb:
        ground = glass(rng, tile, tile) if on_glass else tile
        shades = INKS[colour]
        ink = np.array(shades[rng.integers(len(shades))], np.float32) / 255
        film = _band(rng, tile.shape[:2])[..., None] * opacity
        return _as_rgb(ground * (1 - film + film * ink))

    return make


def black_edge(rng: Rng, tile: Rgb, _: Rgb) -> Rgb:
    """Blacken one side, as where the scanner's area or the slide ends."""
    spoilt = np.rot90(tile, rng.integers(4)).copy()
    spoilt[: round(rng.uniform(LEAST_COVER, 1) * len(spoilt))] = rng.integers(0, 25)
    return spoilt


def glass(rng: Rng, tile: Rgb, _: Rgb) -> Rgb:
    """Show the empty slide."""
    return np.broadcast_to(_glass_colour(rng), tile.shape).astype(np.uint8)


def jpeg_glass(rng: Rng, tile: Rgb, other: Rgb) -> Rgb:
    """Show the empty slide with sensor noise, strongly compressed."""
    noisy = _as_rgb(glass(rng, tile, other) + rng.normal(0, 3, tile.shape))
    _, encoded = cv2.imencode(".jpg", noisy, (cv2.IMWRITE_JPEG_QUALITY, 40))
    return cv2.imdecode(encoded, cv2.IMREAD_COLOR)


def tinted_glass(rng: Rng, tile: Rgb, other: Rgb) -> Rgb:
    """Show the empty slide as a lamp of another colour lights it, unevenly."""
    height, width = tile.shape[:2]
    fall = np.linspace(1, rng.uniform(0.93, 1), width)[None, :, None] * np.ones((height, 1, 1))
    tint = np.array([1, rng.uniform(0.96, 1), rng.uniform(0.94, 1)])
    return _as_rgb(glass(rng, tile, other) * fall * tint)


def folded(rng: Rng, tile: Rgb, other: Rgb) -> Rgb:
    """Lay a second piece of the tissue over a band of the tile: light goes through both."""
    band = _band(rng, tile.shape[:2])[..., None]
    layer = np.rot90(other, rng.integers(4)).astype(np.float32) / 255
    return _as_rgb(tile * (1 - band + band * layer))


def doubled(rng: Rng, tile: Rgb, other: Rgb) -> Rgb:
    """Lay a second piece of the tissue over all of the tile."""
    return _as_rgb(tile * (np.rot90(other, rng.integers(4)).astype(np.float32) / 255))


def over_stained(times: float) -> Make:
    """Multiply the stain of a band."""

    def make(rng: Rng, tile: Rgb, _: Rgb) -> Rgb:
        band = _band(rng, tile.shape[:2])[..., None]
        return _as_rgb(255 * (tile / 255.0) ** (1 + (times - 1) * band))

    return make


def faded(times: float) -> Make:
    """Take stain away all over: density times a number below 1, with the noise of the sensor."""
    return lambda rng, tile, _: _as_rgb(255 * (np.maximum(tile, 1) / 255.0) ** times + rng.normal(0, 1, tile.shape))


def hazed(share: float) -> Make:
    """Shrink the contrast about the mean, as stray light or a dirty cover glass does."""

    def make(rng: Rng, tile: Rgb, _: Rgb) -> Rgb:
        mean = tile.mean(axis=(0, 1))
        return _as_rgb(mean + share * (tile - mean) + rng.normal(0, 1, tile.shape))

    return make


def _glass_colour(rng: Rng) -> NDArray[np.float64]:
    return rng.uniform(232, 248) + rng.uniform(-2, 2, 3)


def _band(rng: Rng, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return (H, W) of 0 to 1: a soft-edged band in any direction that covers at least `LEAST_COVER`."""
    height, width = shape
    while True:
        angle, share = rng.uniform(0, np.pi), rng.uniform(LEAST_COVER, 1)
        across = np.cos(angle) * np.arange(width)[None, :] + np.sin(angle) * np.arange(height)[:, None]
        across -= np.cos(angle) * width / 2 + np.sin(angle) * height / 2 + rng.uniform(-30, 30)
        band = np.clip(share * width / 2 - np.abs(across) + 0.5, 0, 1).astype(np.float32)
        if band.mean() >= LEAST_COVER:
            return cv2.GaussianBlur(band, (0, 0), 2)


def _as_rgb(pixels: NDArray[np.floating]) -> Rgb:
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
