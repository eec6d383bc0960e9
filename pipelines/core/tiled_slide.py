"""One slide that has been tiled, as the stage that embeds it takes it up."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.core.errors import ArtifactError
from pipelines.core.files import file_fingerprint
from pipelines.core.schemas import TILES

ROW_NOTE = "five.row"
"""Note of a tile table, or attribute of a feature file, that holds the slide's row of the stage's table as JSON."""


@dataclass(frozen=True)
class TiledSlide:
    """A slide and its tile table."""

    slide_id: str
    patient_id: str | None
    table: Path
    """Its table of `TILES`."""
    fingerprint: str
    """Digits of the table, empty where it is missing."""

    @classmethod
    def of(cls, row: Mapping[str, Any], folder: Path) -> TiledSlide:
        """Return the slide of a row of `TILED_SLIDES` in the output ``folder`` of ``five tile``."""
        name = row["slide_id"]
        table = folder / f"{name}.parquet"
        return cls(name, row.get("patient_id"), table, file_fingerprint(table) if table.exists() else "")


def tiled_row(table: Path) -> dict[str, Any]:
    """Return the row of `TILED_SLIDES` that the tile table of a slide carries.

    Raises
    ------
    ArtifactError
        The table is missing, damaged, or carries no row.
    """
    notes = TILES.notes(table)
    if ROW_NOTE not in notes:
        raise ArtifactError(f"{table}: does not say which slide it belongs to", hint="run `five tile` again")
    row: dict[str, Any] = json.loads(notes[ROW_NOTE])
    return row
