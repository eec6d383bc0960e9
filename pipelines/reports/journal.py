"""The journal of a run: one JSON line per report, so that a killed run can go on and shards share a folder."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from pipelines.core.files import canonical_json


class Journal:
    """Appends records by report and reads back what earlier and concurrent runs appended.

    Every shard appends to a file of its own and reads the files of all. A line cut off by a
    crash is ignored; everything before it counts. Nothing is written before the first record.
    """

    def __init__(self, folder: Path, shard: str = "") -> None:
        self.path = folder / f"journal{shard and f'-{shard}'}.jsonl"
        self._records: dict[tuple[str, str], Mapping[str, Any]] = {}
        self._stream: TextIO | None = None
        self.reload()

    def reload(self) -> None:
        """Read what all shards have appended by now."""
        for path in sorted(self.path.parent.glob("journal*.jsonl")):
            for line in path.read_bytes().decode("utf-8", "replace").split("\n"):
                try:
                    self._take(json.loads(line))
                except (ValueError, KeyError, TypeError):
                    continue

    def _take(self, record: Mapping[str, Any]) -> None:
        """Keep a record in the place of an earlier one by the same work, but no failure in the place of a success."""
        key = (str(record["report_id"]), str(record["work"]))
        if record["status"] != "failed" or self._records.get(key, record)["status"] == "failed":
            self._records[key] = record

    def current(self, report_id: str, work: str) -> Mapping[str, Any] | None:
        """Return the record of a report made by the same ``work`` (a fingerprint), failures included."""
        return self._records.get((report_id, work))

    @property
    def records(self) -> list[Mapping[str, Any]]:
        """All records, of whatever work, in the order of first appearance."""
        return list(self._records.values())

    def append(self, record: Mapping[str, Any]) -> None:
        """Add the record of one report; it is on the disk when this returns."""
        if self._stream is None:
            self._stream = self._open()
        self._stream.write(canonical_json(record) + "\n")
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._take(record)

    def _open(self) -> TextIO:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        written = self.path.read_bytes() if self.path.exists() else b""
        stream = self.path.open("a", encoding="utf-8")
        if written and not written.endswith(b"\n"):
            stream.write("\n")
        return stream

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            self._stream.close()
