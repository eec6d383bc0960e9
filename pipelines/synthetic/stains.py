"""Tissue as two stain maps, turned into colour as light does it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Gray = NDArray[np.uint8]
RGB = NDArray[np.uint8]

HAEMATOXYLIN = np.array([0.64, 0.70, 0.31])
EOSIN = np.array([0.12, 0.88, 0.45])
"""Optical density of each stain in red, green and blue, about what is measured on scanned slides."""
FULL_DENSITY = 2.4
"""Optical density that the value 255 of a stain map stands for, before the stain of a slide is set."""


@dataclass(frozen=True)
class Canvas:
    """How much of each stain every pixel holds, 0 to 255. H rows, W columns."""

    haematoxylin: Gray
    """(H, W), what nuclei take up."""
    eosin: Gray
    """(H, W), what cytoplasm, collagen and keratin take up."""

    @classmethod
    def blank(cls, width: int, height: int) -> Canvas:
        """Return a canvas without stain, pixels."""
        return cls(np.zeros((height, width), np.uint8), np.zeros((height, width), np.uint8))


@dataclass(frozen=True)
class Stain:
    """How one laboratory stains and one scanner sees it."""

    haematoxylin: float
    """Mean optical density of haematoxylin over the tissue."""
    eosin: float
    """Mean optical density of eosin over the tissue."""
    tint: tuple[float, float, float]
    """Factors on the density in red, green and blue, around 1."""
    background: tuple[int, int, int]
    """Colour of empty glass, RGB."""

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Stain:
        """Return a stain drawn at random; it knows nothing of the diagnosis."""
        red, green, blue = rng.uniform(0.92, 1.08, 3)
        glass = rng.integers(241, 249) + rng.integers(-2, 3, 3)
        return cls(
            haematoxylin=float(rng.uniform(0.30, 0.46)),
            eosin=float(rng.uniform(0.28, 0.46)),
            tint=(float(red), float(green), float(blue)),
            background=(int(glass[0]), int(glass[1]), int(glass[2])),
        )


def develop(canvas: Canvas, tissue: NDArray[np.bool_], stain: Stain) -> RGB:
    """Return the colours of a canvas under a stain, (H, W, 3).

    Both stains are scaled to the mean density that ``stain`` asks for over ``tissue`` (H, W),
    so that the mean colour of a slide tells of its laboratory and not of its growth pattern.
    """
    amounts = []
    for stain_map, wanted in ((canvas.haematoxylin, stain.haematoxylin), (canvas.eosin, stain.eosin)):
        drawn = cv2.mean(stain_map, tissue.view(np.uint8))[0] / 255 * FULL_DENSITY
        amounts.append(np.arange(256) / 255 * FULL_DENSITY * wanted / max(drawn, 1e-6))
    density = amounts[0][:, None, None] * HAEMATOXYLIN + amounts[1][None, :, None] * EOSIN  # (256, 256, 3)
    colours = np.asarray(stain.background) * np.exp(-density * np.asarray(stain.tint))
    table = colours.round().astype(np.uint8).reshape(-1, 3)
    index = (canvas.haematoxylin.astype(np.uint16) << 8) | canvas.eosin
    rgb: RGB = table[index]
    return rgb
