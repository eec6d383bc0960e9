"""Draw one slide: pieces of tissue with tumor, stroma and lung, stained and scanned."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from pipelines.synthetic.growth import draw_glands, draw_nests, draw_sheet
from pipelines.synthetic.invasion import draw_tumor_in_air, draw_tumor_in_vessels
from pipelines.synthetic.necrosis import draw_necrosis
from pipelines.synthetic.noise import Mask
from pipelines.synthetic.plan import draw_plan
from pipelines.synthetic.stains import RGB, Canvas, Stain, develop
from pipelines.synthetic.stroma import draw_alveoli, draw_collagen, draw_stroma_cells, draw_vessels

MPP = 0.5
"""Microns per pixel of every drawn slide."""

GROWTH: Mapping[str, Callable[[Canvas, Mask, np.random.Generator], dict[str, Mask]]] = {
    "glands": draw_glands,
    "nests": draw_nests,
}
"""Functions that draw the differentiated part of a tumor and return its masks, by growth pattern."""
FINDINGS = ("air_spaces", "vascular_invasion", "necrosis")
"""Findings that a slide shows or does not show."""


@dataclass(frozen=True)
class DrawnTissue:
    """Pixels of a slide, and where they show what."""

    rgb: RGB
    """(H, W, 3)"""
    masks: Mapping[str, Mask]
    """Name -> (H, W). One mask for each of `FINDINGS`, empty if the slide does not show it: groups of tumor cells in
    air spaces, tumor in vessels, necrosis. Of the growth pattern ``glands``, or ``nests`` and ``keratin_pearls``."""


def draw_tissue(
    rng: np.random.Generator, growth: str, differentiated: float, stain: Stain, shown: Collection[str] = ()
) -> DrawnTissue:
    """Draw a slide at `MPP`.

    Parameters
    ----------
    growth
        A key of `GROWTH`.
    differentiated
        Share of the tumor with that growth pattern, 0 to 1; the rest is solid sheets, which look the same for all.
    shown
        Those of `FINDINGS` that the slide shows. The others leave the rest of the slide as it is.
    """
    own_rng = dict(zip(FINDINGS, rng.spawn(len(FINDINGS)), strict=True))
    plan = draw_plan(rng, differentiated, own_rng["necrosis"] if "necrosis" in shown else None)
    tissue, tumor = plan.tissue, plan.tumor
    canvas = Canvas.blank(tissue.shape[1], tissue.shape[0])
    direction = draw_collagen(canvas, tissue, rng)
    draw_stroma_cells(canvas, tissue, direction, rng)
    lumina = draw_vessels(canvas, tissue & ~tumor & ~plan.lung, rng)
    air = draw_alveoli(canvas, tissue & plan.lung & ~tumor, rng)
    masks = GROWTH[growth](canvas, tumor & ~plan.solid, rng)
    grown = np.logical_or.reduce(list(masks.values()))
    draw_sheet(canvas, tumor & plan.solid, rng, spacing=20, gaps=0.25)
    draw_necrosis(canvas, plan.dead, own_rng["necrosis"])
    covered = plan.dead | (tumor & plan.solid)
    masks = {name: mask & ~covered for name, mask in masks.items()}
    masks |= {finding: np.zeros_like(tissue) for finding in FINDINGS} | {"necrosis": plan.dead}
    if "vascular_invasion" in shown:
        masks["vascular_invasion"] = draw_tumor_in_vessels(canvas, lumina, own_rng["vascular_invasion"])
    if "air_spaces" in shown:
        masks["air_spaces"] = draw_tumor_in_air(canvas, air & ~grown, own_rng["air_spaces"])
    _scan(canvas, tissue, rng)
    return DrawnTissue(develop(canvas, tissue, stain), {name: mask & tissue for name, mask in masks.items()})


def _scan(canvas: Canvas, tissue: Mask, rng: np.random.Generator) -> None:
    """Add grain and the blur of a scanner's lens, in place."""
    grain = rng.integers(205, 256, (512, 512), dtype=np.uint8)
    height, width = tissue.shape
    tiled = np.tile(grain, (height // 512 + 1, width // 512 + 1))[:height, :width]
    for stain_map in (canvas.haematoxylin, canvas.eosin):
        stain_map[~tissue] = 0
        cv2.multiply(stain_map, tiled, dst=stain_map, scale=1 / 230)
        cv2.GaussianBlur(stain_map, (0, 0), 0.75, dst=stain_map)
