"""Build the tile table of one slide from the positions and scores of its tiles."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.core.arrow_arrays import arrow_array
from pipelines.core.schemas import TILES
from pipelines.slides.grid import Grid
from pipelines.slides.quality import Quality


def tile_table(grid: Grid, tissue: NDArray[np.float32], quality: Quality, *, keep_all: bool) -> pa.Table:
    """Return the tiles of one slide as a `TILES` table.

    Parameters
    ----------
    tissue
        (N,) fraction of each tile that is tissue.
    keep_all
        Also keep tiles of low quality. Background and unreadable tiles are never kept.
    """
    dropped = np.isin(quality.reason, ("background", "unreadable")) if keep_all else quality.reason != ""
    columns = {
        "x": grid.x,
        "y": grid.y,
        "row": grid.row,
        "col": grid.col,
        "tissue_fraction": tissue,
        "white_fraction": quality.white,
        "black_fraction": quality.black,
        "pen_fraction": quality.pen,
        "fold_fraction": quality.fold,
        "focus": quality.focus,
        "contrast": quality.contrast,
        "keep": ~dropped,
        "reason": [reason or None for reason in quality.reason.tolist()],
    }
    measured = {"focus": ~np.isnan(quality.focus), "contrast": ~np.isnan(quality.contrast)}
    arrays = [arrow_array(columns[field.name], field.type, valid=measured.get(field.name)) for field in TILES.schema]
    return pa.Table.from_arrays(arrays, schema=TILES.schema)
