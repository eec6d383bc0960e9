"""The summary table of ``five embed``: one row per slide whose features are current, written as the run goes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from pipelines.core.batch import Outcome, Result
from pipelines.core.errors import ArtifactError
from pipelines.core.feature_file import read_notes
from pipelines.core.folder import update_table
from pipelines.core.json_text import parse_json
from pipelines.core.schemas import EMBEDDED_SLIDES
from pipelines.core.table_writer import TableWriter, mend_table
from pipelines.core.tiled_slide import ROW_NOTE, TiledSlide
from pipelines.encoders.feature_folder import FeatureFolder


@dataclass
class EmbeddedTable:
    """``slides.parquet`` in the folder of one encoder."""

    folder: FeatureFolder
    writer: TableWriter = field(init=False)
    """Writes the rows; a context manager."""

    def __post_init__(self) -> None:
        path = self.folder.folder / "slides.parquet"
        self.writer = TableWriter(EMBEDDED_SLIDES, path, self.folder.provenance)

    def remove_outdated(self, tiled: Sequence[Mapping[str, Any]], to_do: Collection[str]) -> set[str]:
        """Remove rows of slides whose features are outdated, and return the ids of slides that are gone.

        Rows stay if their features were made from the tiles that ``five tile`` has now. Rows of slides
        that are to be embedded return when that is done.

        Parameters
        ----------
        tiled
            The rows of `TILED_SLIDES`.
        to_do
            Ids of the slides that are to be embedded.
        """
        path = self.writer.path
        mend_table(EMBEDDED_SLIDES, path, self.folder.provenance, self._recorded_rows)
        if not path.exists():
            return set()
        tiles = {row["slide_id"]: row["tiles_fingerprint"] for row in tiled if row["status"] in ("ok", "empty")}

        def is_outdated(row: Mapping[str, Any]) -> bool:
            name, failed = row["slide_id"], row["status"] == "failed"
            return name not in tiles or (not failed and (name in to_do or row["tiles_fingerprint"] != tiles[name]))

        outdated = {row["slide_id"] for row in EMBEDDED_SLIDES.read_rows(path) if is_outdated(row)}
        if outdated:
            update_table(
                EMBEDDED_SLIDES, path, [], "slide_id", self.folder.provenance, keep=lambda row: not is_outdated(row)
            )
        return outdated - set(tiles)

    def add(self, slide: TiledSlide, result: Result) -> None:
        """Add the row of a slide, unless another process works on it."""
        row = result.rows.get(self.folder.preset.name)
        if row is None and result.outcome is not Outcome.BUSY:
            identity = {"slide_id": slide.slide_id, "patient_id": slide.patient_id, "encoder": self.folder.preset.name}
            is_kept = result.outcome is Outcome.KEPT or self.folder.is_current(slide)
            row = self.folder.kept_row(slide) if is_kept else {**identity, **result.row}
        if row is not None:
            self.writer.add({name: value for name, value in row.items() if name in EMBEDDED_SLIDES.schema.names})

    def _recorded_rows(self) -> Iterator[Mapping[str, Any]]:
        """Yield the rows that the feature files contain."""
        for file in sorted(self.folder.folder.rglob("[!.]*.h5")):
            with suppress(ArtifactError, KeyError, ValueError):
                yield parse_json(read_notes(file)[ROW_NOTE])
