"""Work on one item, under its lock, so that it can fail without the others."""

from __future__ import annotations

import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pipelines.core.batch.results import Outcome, Result
from pipelines.core.errors import FiveError
from pipelines.core.locks import item_lock

Named = tuple[Any, str]
"""An item and its id."""


class Work(Protocol):
    """Makes the artifact of one item and returns what became of it (picklable for processes)."""

    def __call__(self, item: Any, /) -> Result: ...  # noqa: D102


def _file_name(item_id: str) -> str:
    return item_id.replace("/", "__")


@dataclass(frozen=True)
class Isolation:
    """Runs work on one item under a lock, with its time measured and its exceptions turned into results."""

    folder: Path
    wait_for_lock: float

    def __call__(self, work: Work, item: Any, item_id: str) -> Result:
        """Return what became of ``item``, FAILED where ``work`` raised."""
        started = time.perf_counter()
        try:
            with item_lock(self.folder / ".locks" / f"{_file_name(item_id)}.lock", wait=self.wait_for_lock) as mine:
                if not mine:
                    return Result(item_id, Outcome.BUSY)
                result = work(item)
                _trace(self.folder, item_id).unlink(missing_ok=True)
        except Exception as error:  # noqa: BLE001 - the one place that lets a batch outlive a bug
            return failed(item_id, error, self.folder, time.perf_counter() - started)
        return result


def _trace(folder: Path, item_id: str) -> Path:
    """Return where the traceback of an item that fails is kept until the item succeeds."""
    return folder / "errors" / f"{_file_name(item_id)}.txt"


def failed(item_id: str, error: BaseException, folder: Path, seconds: float = 0.0) -> Result:
    """Return the result of an item that raised ``error`` and keep its traceback in ``folder/errors``."""
    trace = _trace(folder, item_id)
    with suppress(OSError):  # the disk may be full; the sentence still tells what happened
        trace.parent.mkdir(parents=True, exist_ok=True)
        trace.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    if isinstance(error, FiveError):
        sentence = f"{error.message} ({error.hint})" if error.hint else error.message
    else:
        sentence = f"{item_id}: {type(error).__name__}: {error} (a bug or a damaged input; see {trace})"
    row = {"status": "failed", "error_type": type(error).__name__, "error": sentence, "seconds": seconds}
    return Result(item_id, Outcome.FAILED, row, error=sentence)
