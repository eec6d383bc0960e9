"""Process one item under its lock, so that its failure does not affect other items."""

from __future__ import annotations

import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pipelines.core.batch.results import Outcome, Result
from pipelines.core.errors import FiveError
from pipelines.core.item_names import file_name, printable
from pipelines.core.locks import item_lock

Named = tuple[Any, str]
"""An item and its id."""


class Work(Protocol):
    """Makes the artifact of one item and returns the result. Must be picklable for several processes."""

    def __call__(self, item: Any, /) -> Result: ...  # noqa: D102


@dataclass(frozen=True)
class Isolation:
    """Runs work on one item under a lock and turns exceptions into results."""

    folder: Path
    """Output folder of the stage."""
    wait_for_lock: float
    """Seconds to wait for the lock of an item."""

    def __call__(self, work: Work, item: Any, item_id: str) -> Result:
        """Return the result of ``item``: FAILED if ``work`` raises, BUSY if another process holds the lock."""
        started = time.perf_counter()
        try:
            with item_lock(self.folder / ".locks" / f"{file_name(item_id)}.lock", wait=self.wait_for_lock) as acquired:
                if not acquired:
                    return Result(item_id, Outcome.BUSY)
                result = work(item)
                _traceback_path(self.folder, item_id).unlink(missing_ok=True)
        except Exception as error:  # noqa: BLE001 - a bug in one item must not end the batch
            return failed(item_id, error, self.folder, time.perf_counter() - started)
        return result


def _traceback_path(folder: Path, item_id: str) -> Path:
    """Return the file for the traceback of a failed item; it is removed when the item succeeds."""
    return folder / "errors" / f"{file_name(item_id)}.txt"


def remove_traceback(item_id: str, folder: Path) -> None:
    """Remove the traceback of an earlier failure of an item."""
    _traceback_path(folder, item_id).unlink(missing_ok=True)


def kept(item_id: str, folder: Path, *, total: int | None = None) -> Result:
    """Return the result of an item that is up to date, and remove the traceback of an earlier failure."""
    remove_traceback(item_id, folder)
    return Result(item_id, Outcome.KEPT, total=total)


def failed(item_id: str, error: BaseException, folder: Path, seconds: float = 0.0) -> Result:
    """Return the result of an item that raised ``error``, and write the traceback to ``folder/errors``."""
    path = _traceback_path(folder, item_id)
    with suppress(OSError):  # the disk may be full; the message below is still reported
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(traceback.format_exception(error)), encoding="utf-8", errors="backslashreplace")
    if isinstance(error, FiveError):
        message = f"{error.message} ({error.hint})" if error.hint else error.message
    else:
        message = f"{item_id}: {type(error).__name__}: {error} (a bug or a damaged input; see {path})"
    message = printable(message, keep="\n\t")  # a table holds only UTF-8
    row = {"status": "failed", "error_type": type(error).__name__, "error": message, "seconds": seconds}
    return Result(item_id, Outcome.FAILED, row, error=message)
