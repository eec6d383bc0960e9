"""Cell nuclei: small images that are drawn once and stamped many times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.synthetic.stains import Gray

ANGLES, VARIANTS = 16, 6
"""Number of directions and of shapes per kind of nucleus."""
STAMP = 31
"""Edge of the image of a nucleus, pixels."""


@dataclass(frozen=True)
class NucleusKind:
    """Shape and chromatin of one kind of nucleus at 0.5 microns per pixel."""

    length: float
    """Mean long axis, pixels."""
    width: float
    """Mean short axis, pixels."""
    spread: float
    """Relative standard deviation of both axes."""
    darkness: float
    """Mean haematoxylin, 0 to 255."""
    vesicular: float
    """0: evenly dark; 1: clear center, dark rim, nucleolus."""


KINDS: Mapping[str, NucleusKind] = {
    "columnar": NucleusKind(18, 11, 0.14, 158, 0.45),
    "polygonal": NucleusKind(16.5, 13, 0.17, 150, 0.6),
    "basal": NucleusKind(15, 10, 0.14, 178, 0.2),
    "pyknotic": NucleusKind(10, 6, 0.25, 205, 0.0),
    "flat": NucleusKind(17, 5, 0.2, 170, 0.0),
    "fibroblast": NucleusKind(20, 4.5, 0.22, 160, 0.1),
    "lymphocyte": NucleusKind(8.5, 8, 0.08, 205, 0.1),
    "pneumocyte": NucleusKind(11, 6, 0.18, 172, 0.1),
}


@cache
def stamps(kind: str) -> NDArray[np.uint8]:
    """Return the images of one kind of nucleus, (ANGLES, VARIANTS, STAMP, STAMP), haematoxylin 0 to 255."""
    rng = np.random.default_rng(sum(kind.encode()))
    angles = np.arange(ANGLES) * np.pi / ANGLES
    return np.stack([[_stamp(KINDS[kind], angle, rng) for _ in range(VARIANTS)] for angle in angles])


def _stamp(kind: NucleusKind, angle: float, rng: np.random.Generator) -> Gray:
    length, width = np.array([kind.length, kind.width]) * rng.normal(1, kind.spread, 2).clip(0.6, 1.5) / 2
    y, x = np.mgrid[:STAMP, :STAMP] - STAMP // 2
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    around = np.arctan2(across, along)
    dent = 1 + 0.06 * np.cos(2 * around + rng.uniform(0, 6.3)) + 0.07 * np.cos(3 * around + rng.uniform(0, 6.3))
    radius = np.hypot(along / length, across / width) / dent
    inside = np.clip((1 - radius) * min(length, width) + 0.5, 0, 1)
    chromatin = cv2.GaussianBlur(rng.standard_normal((STAMP, STAMP)), (0, 0), 1.1)
    chromatin /= chromatin.std()
    rim = np.exp(-(((radius - 0.9) / 0.16) ** 2))
    shade = 1 - kind.vesicular * 0.42 * (1 - rim) + 0.13 * chromatin
    if kind.vesicular > 0.3:
        spot = rng.normal(0, 0.25, 2) * (length, width)
        shade += 0.55 * np.exp(-((along - spot[0]) ** 2 + (across - spot[1]) ** 2) / 3.2)
    stamp: Gray = (inside * shade * kind.darkness * rng.normal(1, 0.1)).clip(0, 255).astype(np.uint8)
    return stamp


def place(
    haematoxylin: Gray,
    rng: np.random.Generator,
    kind: str,
    points: NDArray[np.int32] | NDArray[np.float64],
    angles: NDArray[np.float64] | None = None,
) -> None:
    """Stamp nuclei of one kind on a haematoxylin map (H, W), in place.

    Parameters
    ----------
    points
        (N, 2), x then y of the centers; nuclei that would cross the edge are left out.
    angles
        (N,), direction of the long axes, radians; None draws them at random.
    """
    images = stamps(kind)
    if angles is None:
        angles = rng.uniform(0, np.pi, len(points))
    turns = np.round(np.asarray(angles) / np.pi * ANGLES).astype(int) % ANGLES
    variants = rng.integers(VARIANTS, size=len(points))
    corners = np.asarray(points).astype(int) - STAMP // 2
    height, width = haematoxylin.shape
    fits = (corners >= 0).all(1) & (corners[:, 0] <= width - STAMP) & (corners[:, 1] <= height - STAMP)
    for (x, y), turn, variant in zip(corners[fits].tolist(), turns[fits], variants[fits], strict=True):
        window = haematoxylin[y : y + STAMP, x : x + STAMP]
        np.maximum(window, images[turn, variant], out=window)
