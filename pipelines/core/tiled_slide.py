"""One slide that has been tiled, as the stage that embeds it takes it up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.core.files import file_fingerprint


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
