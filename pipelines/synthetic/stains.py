"""Tissue as two stain maps, turned into colour as light does it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Gray = NDArray[np.uint8]
RGB = NDArray[np.uint8]

HAEMATOXYLIN = np.array([0.64, 0.70, 0.31])
EOSIN = np.array([0.12, 0.88, 0.45])
"""Optical density of each stain in red, green and blue, about what is measured on scanned slides."""
FULL_DENSITY = 2.4
"""Optical density that the value 255 of a stain map stands for, before the stain of a slide is set."""
ROUNDS = 12
"""Corrections of the amounts of stain; the mean colour is then right to less than a grey level."""


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
    """How one laboratory stains and one scanner sees it.

    The densities are those that, spread evenly over the tissue, give the slide's mean red and green.
    """

    haematoxylin: float
    """Optical density of haematoxylin."""
    eosin: float
    """Optical density of eosin."""
    tint: tuple[float, float, float]
    """Factors on the density in red, green and blue, around 1."""
    background: tuple[int, int, int]
    """Colour of empty glass, RGB."""

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Stain:
        """Return a stain drawn at random; it knows nothing of the diagnosis."""
        red, green, blue = rng.uniform(0.9, 1.1, 3)
        glass = rng.integers(241, 249) + rng.integers(-2, 3, 3)
        return cls(
            haematoxylin=float(rng.uniform(0.22, 0.40)),
            eosin=float(rng.uniform(0.22, 0.40)),
            tint=(float(red), float(green), float(blue)),
            background=(int(glass[0]), int(glass[1]), int(glass[2])),
        )


def develop(canvas: Canvas, tissue: NDArray[np.bool_], stain: Stain) -> RGB:
    """Return the colours of a canvas under a stain, (H, W, 3).

    The amounts of both stains are chosen so that the mean colour over ``tissue`` (H, W) is the one
    that ``stain`` asks for: it tells of the laboratory and not of the growth pattern.
    """
    index = (canvas.haematoxylin.astype(np.uint16) << 8) | canvas.eosin
    counts = np.bincount(index[tissue], minlength=1 << 16)
    light = _light(counts / max(counts.sum(), 1), stain)
    colours = (light * stain.background).round().astype(np.uint8)
    rgb: RGB = colours[index]
    return rgb


def _light(frequency: NDArray[np.float64], stain: Stain) -> NDArray[np.float64]:
    """Return the share of red, green and blue light that passes, (65536, 3), by 256 * haematoxylin + eosin.

    ``frequency`` (65536,) says how much of the tissue has each pair of stain values.
    """
    vectors = np.stack([HAEMATOXYLIN, EOSIN]) * stain.tint
    wanted = np.array([stain.haematoxylin, stain.eosin]) @ vectors
    drawn = np.stack(np.divmod(np.arange(1 << 16), 256), axis=1) / 255 * FULL_DENSITY
    amounts = np.ones(2)
    for _ in range(ROUNDS):
        light: NDArray[np.float64] = np.exp(-(drawn * amounts) @ vectors)
        seen = -np.log(frequency @ light)
        amounts *= wanted[:2] / np.maximum(seen[:2], 1e-6)  # red answers to haematoxylin, green to both
    return light
