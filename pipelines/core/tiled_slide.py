"""A tiled slide, as the input of later stages."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.core.errors import ArtifactError
from pipelines.core.files import fingerprint
from pipelines.core.json_text import parse_json
from pipelines.core.schemas import TILES

ROW_NOTE = "five.row"
"""Attribute of a tile table or feature file with the slide's row of the summary table, as JSON."""

FEATURES_DEPEND_ON = (
    *("slide_fingerprint", "width", "height", "mpp_x", "mpp_y"),
    *("tile_size", "tile_size_level0", "target_mpp"),
)
"""Columns of `TILED_SLIDES` that features depend on, besides the kept tiles."""


@dataclass(frozen=True)
class TiledSlide:
    """A slide and its tile table."""

    slide_id: str
    patient_id: str | None
    table: Path
    """The tile table of the slide, of kind `TILES`."""
    fingerprint: str
    """See `tiles_fingerprint`; empty if the table is missing or damaged."""

    @classmethod
    def of(cls, row: Mapping[str, Any], folder: Path) -> TiledSlide:
        """Return the slide for a row of `TILED_SLIDES`; ``folder`` is the output folder of ``five tile``."""
        name = row["slide_id"]
        table = folder / f"{name}.parquet"
        try:
            tiles = str(tiled_row(table).get("tiles_fingerprint", ""))
        except ArtifactError:
            tiles = ""  # raised again when the slide is processed
        return cls(name, row.get("patient_id"), table, tiles)


def tiles_fingerprint(row: Mapping[str, Any], tiles: pa.Table, overlap: int) -> str:
    """Return a fingerprint of what the features of a slide depend on.

    It does not depend on times, paths or scores: a slide that is tiled again keeps its features if its
    kept tiles are the same.

    Parameters
    ----------
    row
        The slide's row of `TILED_SLIDES`.
    tiles
        Its table of kind `TILES`.
    overlap
        Overlap of the tiles, pixels; feature files record it.
    """
    kept = tiles.filter(tiles["keep"])
    corners = [hashlib.sha256(kept[name].to_numpy().astype("<i4").tobytes()).hexdigest() for name in ("x", "y")]
    return fingerprint([[row[name] for name in FEATURES_DEPEND_ON], overlap, corners])


def tiled_row(table: Path) -> dict[str, Any]:
    """Return the `TILED_SLIDES` row that is stored in the tile table of a slide.

    Raises
    ------
    ArtifactError
        The table is missing or damaged, or contains no row.
    """
    return noted_row(TILES.notes(table), table)


def noted_row(notes: Mapping[str, str], table: Path) -> dict[str, Any]:
    """Return the row in the ``notes`` of the tile table ``table``; see `tiled_row`."""
    if ROW_NOTE not in notes:
        raise ArtifactError(f"{table}: no slide is recorded in this table", hint="run `five tile` again")
    row: dict[str, Any] = parse_json(notes[ROW_NOTE])
    return row
