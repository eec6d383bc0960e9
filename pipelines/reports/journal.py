"""The journal of a run: one JSON line per report, so that a stopped run can resume and shards can share a folder."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from pipelines.core.files import PRIVATE_FILE, cannot_write, canonical_json, make_private_folder
from pipelines.core.sealed_json import open_sealed, seal

logger = logging.getLogger(__name__)


class Journal:
    """Appends one record per report, and reads the records of earlier and concurrent runs.

    Every shard appends to its own file and reads the files of all shards. Every record carries a
    digest. A damaged line is ignored, so its report is asked about again. No file is created before
    the first record.
    """

    def __init__(self, folder: Path, shard: str = "") -> None:
        self.path = folder / f"journal{shard and f'-{shard}'}.jsonl"
        self._records: dict[tuple[str, str], Mapping[str, Any]] = {}
        self._stream: TextIO | None = None
        self._reported: set[Path] = set()
        self.reload()

    def reload(self) -> None:
        """Read the records that all shards have appended so far."""
        for path in sorted(self.path.parent.glob("journal*.jsonl")):
            n_damaged = sum(not self._read_line(line) for line in path.read_bytes().split(b"\n") if line)
            if n_damaged and path not in self._reported:
                self._reported.add(path)
                logger.warning(
                    "%s: lines that are damaged or from an earlier version: %d; their reports are asked about again",
                    path,
                    n_damaged,
                )

    def _read_line(self, line: bytes) -> bool:
        """Add the record in a line, and return False if it is damaged; a line cut off by a crash is normal."""
        try:
            self._add(open_sealed(line.decode()))
        except (ValueError, KeyError):
            return not line.endswith(b"}")
        return True

    def _add(self, record: Mapping[str, Any]) -> None:
        """Add a record. It replaces an earlier one of the same work, except that a failure never replaces a success."""
        key = (str(record["report_id"]), str(record["work"]))
        if record["status"] != "failed" or self._records.get(key, record)["status"] == "failed":
            self._records[key] = record

    def current(self, report_id: str, work: str) -> Mapping[str, Any] | None:
        """Return the record of a report with the fingerprint ``work``, even if it failed; None if there is none."""
        return self._records.get((report_id, work))

    @property
    def records(self) -> list[Mapping[str, Any]]:
        """All records, whatever their ``work``, in the order of first appearance."""
        return list(self._records.values())

    def append(self, record: Mapping[str, Any]) -> None:
        """Write the record of one report to disk.

        Raises
        ------
        ArtifactError
            The journal cannot be written, for example because the disk is full.
        """
        try:
            if self._stream is None:
                self._stream = self._open()
            self._stream.write(canonical_json(seal(record)) + "\n")
            self._stream.flush()
            os.fsync(self._stream.fileno())
        except OSError as error:
            raise cannot_write(self.path, error) from error
        self._add(record)

    def _open(self) -> TextIO:
        make_private_folder(self.path.parent)
        written = self.path.read_bytes() if self.path.exists() else b""
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, PRIVATE_FILE)
        with suppress(PermissionError):  # the file of another user keeps its mode
            os.fchmod(handle, PRIVATE_FILE)
        stream = os.fdopen(handle, "a", encoding="utf-8")
        if written and not written.endswith(b"\n"):
            stream.write("\n")
        return stream

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            with suppress(OSError) if error else nullcontext():  # closing repeats a write that failed
                self._stream.close()
