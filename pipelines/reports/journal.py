"""The journal of a run: one JSON line per described report, so that a killed run can go on."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from pipelines.core.files import canonical_json


class Journal:
    """Appends records by report and reads back what earlier runs appended.

    A line cut off by a crash is ignored; everything before it counts. A later line about
    a report replaces an earlier one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: dict[str, Mapping[str, Any]] = {}
        cut_off = False
        if path.exists():
            data = path.read_bytes()
            cut_off = bool(data) and not data.endswith(b"\n")
            for line in data.decode("utf-8", "replace").split("\n"):
                self._take(line)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = path.open("a", encoding="utf-8")
        if cut_off:
            self._stream.write("\n")

    def _take(self, line: str) -> None:
        try:
            record = json.loads(line)
            self.records[record["report_id"]] = record
        except (ValueError, KeyError, TypeError):
            return

    def current(self, report_id: str, work: str) -> Mapping[str, Any] | None:
        """Return the record of a report if it was made by the same ``work`` (a fingerprint)."""
        record = self.records.get(report_id)
        return record if record is not None and record.get("work") == work else None

    def append(self, record: Mapping[str, Any]) -> None:
        """Add the record of one report; it is on the disk when this returns."""
        self._stream.write(canonical_json(record) + "\n")
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self.records[str(record["report_id"])] = record

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()
