"""Write the summary table of a stage while its items are made, so that a killed run loses little."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from pipelines.core.errors import ArtifactError
from pipelines.core.folder import update_table
from pipelines.core.provenance import Provenance
from pipelines.core.tables import TableArtifact

log = logging.getLogger(__name__)

WRITE_SECONDS = 30.0
"""Seconds between writes of the table."""


@dataclass
class TableWriter:
    """Collects rows with a unique ``slide_id`` and writes them to a table every `WRITE_SECONDS`.

    As a context manager, it also writes at the end of the block. After an exception or Ctrl-C it writes the rows that
    there are, so that later stages can use what was made.
    """

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

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or self._rows:
            self.flush()


def mend_table(
    artifact: TableArtifact, path: Path, provenance: Provenance, rows: Callable[[], Iterable[Mapping[str, Any]]]
) -> None:
    """Write ``rows()``, which the files of the slides contain, if the table is damaged or has another version.

    Raises
    ------
    ArtifactError
        The file is a table of another kind.
    """
    if not path.exists():
        return
    try:
        artifact.read(path)
    except ArtifactError as error:
        if _is_foreign(artifact, path):
            raise
        log.warning("%s; it is made again from the files of the slides", error.message)
        path.unlink(missing_ok=True)
        update_table(artifact, path, rows(), "slide_id", provenance)


def _is_foreign(artifact: TableArtifact, path: Path) -> bool:
    try:
        return artifact.notes(path).get("five.schema") != artifact.name
    except ArtifactError:
        return False
