"""Contact sheet of the rejected tiles of a slide, one row per reason, for choosing thresholds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipelines.core.errors import SlideError
from pipelines.core.settings import TileSettings
from pipelines.slides.grid import Grid
from pipelines.slides.overview import COLORS
from pipelines.slides.pictures import TEXT_HEIGHT, Captions
from pipelines.slides.pixels import Rgb
from pipelines.slides.quality import PENS, REASONS, Quality, Scores
from pipelines.slides.slide import Slide

COLUMNS = 10
"""Maximum number of tiles shown per reason."""
EDGE, GAP, CAPTION, LABEL = 112, 6, 22, 14
"""Edge of a tile, gap between tiles, height of a row's caption and of a tile's score; pixels."""
SCORE_OF = {
    "black": ("black", "max_black"),
    **dict.fromkeys(PENS, ("pen", "max_pen")),
    "white": ("white", "max_white"),
    "fold": ("fold", "max_fold"),
    "low-contrast": ("contrast", "min_contrast"),
    "blurred": ("focus", "min_focus"),
}
"""Per reason: the score in `Quality`, and the setting with its threshold."""


def contact_sheet(slide: Slide, grid: Grid, quality: Quality, settings: TileSettings) -> Rgb | None:
    """Return the rejected tiles of each reason, from the worst to those closest to the threshold; None without any.

    A reason with more than `COLUMNS` tiles is represented by tiles at evenly spaced ranks of the score, so
    the same slide always gives the same image. Background and unreadable tiles appear only in the overview.

    Returns
    -------
    (H, W, 3) uint8, at most about 1,200 x 1,200 pixels.
    """
    rows = []
    for reason in (reason for reason in REASONS if reason in SCORE_OF):
        rejected = np.flatnonzero(quality.reason == reason)
        if len(rejected):
            score, limit = SCORE_OF[reason]
            scores: Scores = getattr(quality, score)[rejected]
            order = np.argsort(scores if limit.startswith("min") else -scores, kind="stable")
            count = f"{len(rejected)} {'tile' if len(rejected) == 1 else 'tiles'}"
            span = f"{score} {scores.min():.3g} to {scores.max():.3g} ({limit} {getattr(settings, limit):.3g})"
            caption = f"{reason}: {count}, {span}"
            rows.append(_row(slide, grid, rejected[order], scores[order], caption, reason))
    return np.vstack(rows) if rows else None


def _row(slide: Slide, grid: Grid, tiles: NDArray[np.intp], scores: Scores, caption: str, reason: str) -> Rgb:
    """Return one row: a caption, and below it some of ``tiles`` (indices, sorted) with their scores."""
    row = Image.new("RGB", (GAP + COLUMNS * (EDGE + GAP), CAPTION + EDGE + LABEL + GAP), "white")
    captions, labels = Captions(row), Captions(row, LABEL - 2)
    captions.swatch(COLORS[reason], GAP, CAPTION // 2, TEXT_HEIGHT)
    captions.write(caption, GAP + TEXT_HEIGHT + 8, CAPTION // 2)
    shown = sorted({round(rank) for rank in np.linspace(0, len(tiles) - 1, COLUMNS).tolist()})
    for column, index in enumerate(shown):
        left = GAP + column * (EDGE + GAP)
        x, y = int(grid.x[tiles[index]]), int(grid.y[tiles[index]])
        row.paste(_tile_image(slide, x, y, grid.size), (left, CAPTION))
        labels.write(f"{scores[index]:.3g}", left, CAPTION + EDGE + LABEL // 2 + 1)
    return np.asarray(row)


def _tile_image(slide: Slide, x: int, y: int, size: int) -> Image.Image:
    try:
        return Image.fromarray(slide.read_tile(x, y, size, EDGE))
    except SlideError:
        return Image.new("RGB", (EDGE, EDGE), COLORS["unreadable"])
