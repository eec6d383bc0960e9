"""A tiled slide, as the input of later stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.core.errors import ArtifactError
from pipelines.core.files import file_fingerprint
from pipelines.core.json_text import parse_json
from pipelines.core.schemas import TILES

ROW_NOTE = "five.row"
"""Attribute of a tile table or feature file with the slide's row of the summary table, as JSON."""


@dataclass(frozen=True)
class TiledSlide:
    """A slide and its tile table."""

    slide_id: str
    patient_id: str | None
    table: Path
    """The tile table of the slide, of kind `TILES`."""
    fingerprint: str
    """Fingerprint of ``table``; empty if the file is missing."""

    @classmethod
    def of(cls, row: Mapping[str, Any], folder: Path) -> TiledSlide:
        """Return the slide for a row of `TILED_SLIDES`; ``folder`` is the output folder of ``five tile``."""
        name = row["slide_id"]
        table = folder / f"{name}.parquet"
        return cls(name, row.get("patient_id"), table, file_fingerprint(table) if table.exists() else "")


def tiled_row(table: Path) -> dict[str, Any]:
    """Return the `TILED_SLIDES` row that is stored in the tile table of a slide.

    Raises
    ------
    ArtifactError
        The table is missing or damaged, or contains no row.
    """
    notes = TILES.notes(table)
    if ROW_NOTE not in notes:
        raise ArtifactError(f"{table}: no slide is recorded in this table", hint="run `five tile` again")
    row: dict[str, Any] = parse_json(notes[ROW_NOTE])
    return row
