"""The tables in a folder of `five predict`, which several processes may write at the same time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.core import table_writer
from pipelines.core.cohort import CohortSlide
from pipelines.core.errors import ArtifactError, ChangedSettingsError
from pipelines.core.files import file_digest
from pipelines.core.folder import table_lock
from pipelines.core.schemas import PREDICTIONS
from pipelines.model.prediction.answers_table import ANSWERS, write_slide_answers
from pipelines.model.prediction.job import PredictionJob
from pipelines.model.prediction.patients_table import PATIENTS, PREDICTED, write_patients

logger = logging.getLogger(__name__)

Row = Mapping[str, Any]


def attention_file(out: Path, slide_id: str) -> Path:
    """Return the attention file of a slide in the output folder ``out``."""
    return out / "attention" / f"{slide_id}.h5"


def heatmap_file(out: Path, slide_id: str) -> Path:
    """Return the heatmap of a slide in the output folder ``out``."""
    return out / "heatmaps" / f"{slide_id}.jpg"


FILES = {"attention": attention_file, "heatmap": heatmap_file}
"""Column with the digest of a file -> function that returns the file."""


@dataclass
class PredictionTable:
    """Reads and writes ``predictions.parquet`` and the tables made from it under one lock.

    Rows of other processes with the same job stay. ``patients.parquet`` exists only while it fits the predictions.
    """

    out: Path
    job: PredictionJob
    _made: dict[str, Row] = field(default_factory=dict)
    """Rows that this process keeps or has written. They are written again if the table is lost."""
    _new: dict[str, Row] = field(default_factory=dict)
    _written: float = field(default_factory=time.monotonic)

    @property
    def path(self) -> Path:
        """The table of the slides."""
        return self.out / PREDICTED

    def valid(self, slides: Collection[CohortSlide]) -> dict[str, Row]:
        """Return the rows of ``slides`` that are still valid, by slide id; nothing is changed."""
        stored = self._stored(take_over=True) or {}
        invalid = self._invalid(stored, slides)
        return _of(slides, {slide_id: row for slide_id, row in stored.items() if slide_id not in invalid})

    def refresh(self, slides: Collection[CohortSlide]) -> dict[str, Row]:
        """Remove rows that are no longer valid, and return those of ``slides`` that are left, by slide id.

        They get their current label and split. Rows of another job are removed: `claim_folder` has allowed this one.

        Parameters
        ----------
        slides
            The slides of this shard. Only their attention files and heatmaps are read.
        """
        judged = self._stored(take_over=True, log=False) or {}
        invalid = self._invalid(judged, slides)  # reads many files, so not under the lock
        with table_lock(self.path):
            stored = self._stored(take_over=True)
            rows = self._in_order(
                {
                    slide_id: row
                    for slide_id, row in (stored or {}).items()
                    if slide_id not in invalid or row != judged[slide_id]  # another process has made it meanwhile
                }
            )
            self._write(rows, stored)
        self._made = _of(slides, rows)
        return self._made

    def add(self, row: Row) -> None:
        """Add the row of a slide that was predicted. The table is written from time to time."""
        self._new[row["slide_id"]] = row
        if time.monotonic() - self._written > table_writer.WRITE_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the rows added since the last write."""
        with table_lock(self.path):
            self._flush()

    def finish(self, write_report: Callable[[], object]) -> int:
        """Write what was added, the patients if every slide is predicted, and the report.

        The last of several shards thus writes complete files, whatever the order in which they end.

        Returns
        -------
        int
            Number of slides that are not predicted, by this process or another.
        """
        with table_lock(self.path):
            n_missing = len(self.job.slides) - self._flush()
            write_slide_answers(self.out, self.job.provenance)
            if self.job.texts and not n_missing:
                write_patients(self.out, list(self.job.texts), self.job.provenance)
            write_report()
        return n_missing

    def _flush(self) -> int:
        stored = self._stored()
        rows = self._in_order({**self._made, **(stored or {}), **self._new})
        self._write(rows, stored)
        self._made |= self._new
        self._new, self._written = {}, time.monotonic()
        return len(rows)

    def _stored(self, *, take_over: bool = False, log: bool = True) -> dict[str, Row] | None:
        """Return the rows in the table by slide id; None if it is missing, cannot be read, or is of another job.

        Parameters
        ----------
        take_over
            Whether rows of another job may be dropped. Otherwise they are an error: that job has started later.
        log
            Whether a table that cannot be read is named in a warning.
        """
        if not self.path.exists():
            return None
        try:
            rows: dict[str, Row] = {row["slide_id"]: row for row in PREDICTIONS.read_rows(self.path)}
            same_work = PREDICTIONS.provenance(self.path).same_work(self.job.provenance)
        except ArtifactError as error:
            if log:
                logger.warning("%s; the table is made again", error.message)
            return None
        if same_work:
            return rows
        if take_over:
            return None
        raise ChangedSettingsError(
            f"{self.path}: another run, with other settings or another model, now writes to this folder",
            hint="choose another -o folder",
        )

    def _invalid(self, rows: Mapping[str, Row], checked: Collection[CohortSlide]) -> set[str]:
        """Return the slides of this job whose rows are no longer valid; the files of those in ``checked`` are read."""
        ids = {slide.slide_id for slide in checked}
        return {
            slide.slide_id
            for slide in self.job.slides
            if (row := rows.get(slide.slide_id)) is not None
            and not (
                self.job.is_of_current_features(row, slide) and (slide.slide_id not in ids or self._has_its_files(row))
            )
        }

    def _has_its_files(self, row: Row) -> bool:
        """Return whether the files that belong to ``row`` exist and are unchanged."""
        wanted = {column: row[column] for column in FILES if row[column] is not None}
        paths = {column: FILES[column](self.out, row["slide_id"]) for column in wanted}
        return all(paths[column].is_file() and file_digest(paths[column]) == wanted[column] for column in wanted)

    def _in_order(self, rows: Mapping[str, Row]) -> dict[str, Row]:
        """Return the rows of the job's slides, in the order of the cohort, with their current label and split."""
        return {
            slide.slide_id: {**rows[slide.slide_id], **self.job.identity(slide)}
            for slide in self.job.slides
            if slide.slide_id in rows
        }

    def _write(self, rows: Mapping[str, Row], stored: Mapping[str, Row] | None) -> None:
        """Write ``rows`` if they differ from ``stored``. The tables made from others are removed before."""
        changed = stored is None or list(rows.values()) != list(stored.values())
        if changed or len(rows) < len(self.job.slides):
            (self.out / PATIENTS).unlink(missing_ok=True)
        if changed:
            (self.out / ANSWERS).unlink(missing_ok=True)
            PREDICTIONS.write(self.path, rows.values(), self.job.provenance)


def _of(slides: Collection[CohortSlide], rows: Mapping[str, Row]) -> dict[str, Row]:
    return {slide.slide_id: rows[slide.slide_id] for slide in slides if slide.slide_id in rows}
