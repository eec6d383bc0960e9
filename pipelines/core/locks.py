"""Locks that let only one process work on an item, across machines that share a folder.

A lock is a file, created exclusively (O_EXCL), that contains host and process and is touched as long
as its holder is alive. Another process takes it over if the holder is dead (same host) or has stopped
touching the file (another host). The protocol is that of filelock's ``SoftFileLease``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipelines.core.files import cannot_write

LEASE_SECONDS = 60
"""Time without a touch after which the holder of a lock is assumed dead."""
GLANCE_SECONDS = 0.05
"""Long enough to take over the lock of a dead process, too short to wait for a living one."""

EMPTY_SECONDS = 2.0
"""Age at which an empty lock counts as abandoned; a living process fills it within milliseconds."""


@contextmanager
def item_lock(path: Path, *, wait: float = GLANCE_SECONDS) -> Iterator[bool]:
    """Hold the lock at ``path`` during the block. Yield whether it was acquired.

    Parameters
    ----------
    wait
        Seconds to wait for the lock. Use more than `LEASE_SECONDS` to outlast a dead holder on another host.

    Raises
    ------
    ArtifactError
        The lock file cannot be written.
    """
    from filelock import SoftFileLease, Timeout

    lease = SoftFileLease(path, lease_duration=LEASE_SECONDS)
    end = time.monotonic() + wait
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove_abandoned(path)
            lease.acquire(timeout=max(0.0, min(end - time.monotonic(), EMPTY_SECONDS)), poll_interval=0.02)
            break
        except Timeout:
            if time.monotonic() >= end:
                yield False
                return
        except OSError as error:
            raise cannot_write(path, error) from error
    try:
        yield True
    finally:
        lease.release()


def _remove_abandoned(path: Path) -> None:
    """Remove the lock of a process that was killed between the creation of the file and the writing of its name.

    The lease never takes over an empty file, because nothing in it proves that its holder is dead.
    """
    with suppress(FileNotFoundError):
        status = path.stat()
        if status.st_size == 0 and time.time() - status.st_mtime > EMPTY_SECONDS:
            path.unlink()
