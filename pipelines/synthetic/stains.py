"""Tissue as maps of two stains, converted to RGB by the Beer-Lambert law."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Gray = NDArray[np.uint8]
RGB = NDArray[np.uint8]

HAEMATOXYLIN = np.array([0.64, 0.70, 0.31])
EOSIN = np.array([0.12, 0.88, 0.45])
"""Optical density of each stain in red, green and blue, close to values measured on scanned slides."""
FULL_DENSITY = 2.4
"""Optical density of the value 255 of a stain map, before the amounts are adapted to the slide."""
ROUNDS = 12
"""Iterations that adapt the amounts of stain; the error of the mean color is then below one gray level."""


@dataclass(frozen=True)
class Canvas:
    """Amount of each stain per pixel, 0 to 255. H rows, W columns."""

    haematoxylin: Gray
    """(H, W), the stain of nuclei."""
    eosin: Gray
    """(H, W), the stain of cytoplasm, collagen and keratin."""

    @classmethod
    def blank(cls, width: int, height: int) -> Canvas:
        """Return a canvas without stain; ``width`` and ``height`` in pixels."""
        return cls(np.zeros((height, width), np.uint8), np.zeros((height, width), np.uint8))

    def window(self, rows: slice, columns: slice) -> Canvas:
        """Return a part of the canvas; drawing on it draws on this canvas."""
        return Canvas(self.haematoxylin[rows, columns], self.eosin[rows, columns])


@dataclass(frozen=True)
class Stain:
    """Staining of one laboratory as seen by one scanner.

    The mean red and green of the slide are those of tissue with these densities everywhere.
    """

    haematoxylin: float
    """Optical density of haematoxylin."""
    eosin: float
    """Optical density of eosin."""
    tint: tuple[float, float, float]
    """Factors on the densities in red, green and blue, close to 1."""
    background: tuple[int, int, int]
    """Color of empty glass, RGB."""

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Stain:
        """Return a random stain, independent of the diagnosis."""
        red, green, blue = rng.uniform(0.9, 1.1, 3)
        glass = rng.integers(241, 249) + rng.integers(-2, 3, 3)
        return cls(
            haematoxylin=float(rng.uniform(0.22, 0.40)),
            eosin=float(rng.uniform(0.22, 0.40)),
            tint=(float(red), float(green), float(blue)),
            background=(int(glass[0]), int(glass[1]), int(glass[2])),
        )


def develop(canvas: Canvas, tissue: NDArray[np.bool_], stain: Stain) -> RGB:
    """Return the RGB image (H, W, 3) of a canvas.

    The amounts of both stains are scaled so that the mean color over ``tissue`` (H, W) is the one given by ``stain``.
    The mean color therefore depends on the laboratory but not on the growth pattern.
    """
    index = (canvas.haematoxylin.astype(np.uint16) << 8) | canvas.eosin
    counts = np.bincount(index[tissue], minlength=1 << 16)
    light = _light(counts / max(counts.sum(), 1), stain)
    colors = (light * stain.background).round().astype(np.uint8)
    rgb: RGB = colors[index]
    return rgb


def _light(frequency: NDArray[np.float64], stain: Stain) -> NDArray[np.float64]:
    """Return the transmitted fraction of red, green and blue light, (65536, 3).

    Rows are pairs of stain values: index 256 * haematoxylin + eosin. ``frequency`` (65536,) is the fraction of the
    tissue with each pair.
    """
    vectors = np.stack([HAEMATOXYLIN, EOSIN]) * stain.tint
    wanted = np.array([stain.haematoxylin, stain.eosin]) @ vectors
    drawn = np.stack(np.divmod(np.arange(1 << 16), 256), axis=1) / 255 * FULL_DENSITY
    amounts = np.ones(2)
    for _ in range(ROUNDS):
        light: NDArray[np.float64] = np.exp(-(drawn * amounts) @ vectors)
        seen = -np.log(frequency @ light)
        amounts *= wanted[:2] / np.maximum(seen[:2], 1e-6)  # red depends on haematoxylin, green on both
    return light
