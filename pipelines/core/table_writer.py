"""Write the summary table of a stage while its items are made, so that a killed run loses little."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.core.folder import update_table
from pipelines.core.provenance import Provenance
from pipelines.core.tables import TableArtifact

WRITE_SECONDS = 30.0
"""Seconds between writes of the table."""


@dataclass
class TableWriter:
    """Collects rows with a unique ``slide_id`` and writes them to a table every `WRITE_SECONDS`."""

    artifact: TableArtifact
    path: Path
    provenance: Provenance
    _rows: list[Mapping[str, Any]] = field(default_factory=list)
    _written: float = field(default_factory=time.monotonic)

    def add(self, row: Mapping[str, Any]) -> None:
        """Add the row of a finished item; it replaces an earlier row of the same slide."""
        self._rows.append(row)
        if time.monotonic() - self._written > WRITE_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the rows collected since the last write; rows of other processes stay."""
        update_table(self.artifact, self.path, self._rows, "slide_id", self.provenance)
        self._rows, self._written = [], time.monotonic()
