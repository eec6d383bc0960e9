"""Draw tumor where it does not belong: groups of tumor cells in air spaces and in the lumina of blood vessels."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from pipelines.synthetic.growth import draw_sheet, outline, wobble
from pipelines.synthetic.noise import COARSE, Mask, pack_discs
from pipelines.synthetic.nuclei import STAMP
from pipelines.synthetic.stains import Canvas
from pipelines.synthetic.stroma import Disc

GROUP = (2.2, 5.2)
"""Smallest and largest radius of a group of cells in an air space, pixels of the coarse map."""
INVADED = 0.6
"""Share of the vessels that contain tumor, the largest first; at least one."""
FILLED = (0.8, 1.0)
"""Range of the radius of the tumor in a vessel, as a share of the radius of the lumen."""


def draw_tumor_in_air(canvas: Canvas, air: Mask, rng: np.random.Generator) -> Mask:
    """Draw detached groups of tumor cells that float in ``air`` (H, W); return the pixels that they cover."""
    room = np.ascontiguousarray(air[::COARSE, ::COARSE])
    tries = max(40, int(room.sum() / 30))
    groups = pack_discs(rng, room, rng.uniform(*GROUP, 200), 4, tries=tries) * COARSE
    drawn = np.zeros(air.shape, bool)
    for x, y, radius in groups.tolist():
        _draw_group(canvas, drawn, (x, y, radius * 0.9), rng)
    return drawn


def draw_tumor_in_vessels(canvas: Canvas, lumina: Sequence[Disc], rng: np.random.Generator) -> Mask:
    """Fill some of the ``lumina`` of vessels with tumor; return the pixels that it covers, (H, W)."""
    drawn = np.zeros(canvas.eosin.shape, bool)
    invaded = sorted(lumina, key=lambda lumen: -lumen[2])[: max(1, round(INVADED * len(lumina)))]
    for x, y, radius in invaded:
        _draw_group(canvas, drawn, (x, y, radius * rng.uniform(*FILLED)), rng)
    return drawn


def _draw_group(canvas: Canvas, drawn: Mask, disc: Disc, rng: np.random.Generator) -> None:
    """Draw a solid group of tumor cells and add the pixels that it covers to ``drawn`` (H, W)."""
    x, y, radius = disc
    edge = outline(x, y, radius * wobble(rng, 0.09, 0.07, 0.05, 0.03).clip(0.6, 1.12))
    reach = int(1.2 * radius) + STAMP
    rows = slice(max(int(y) - reach, 0), int(y) + reach)
    columns = slice(max(int(x) - reach, 0), int(x) + reach)
    window = canvas.window(rows, columns)
    inside = np.zeros(window.eosin.shape, np.uint8)
    cv2.fillPoly(inside, [edge - 16 * np.array([columns.start, rows.start], np.int32)], 1, shift=4)
    before = window.haematoxylin.copy()
    draw_sheet(window, inside.view(bool), rng, spacing=16, gaps=0.25)
    drawn[rows, columns] |= inside.view(bool) | (window.haematoxylin != before)  # nuclei reach beyond the edge
