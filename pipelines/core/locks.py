"""Locks that let only one process work on an item, across machines that share a folder.

A lock is a file, created exclusively (O_EXCL), that contains host and process and is touched as long
as its holder is alive. Another process takes it over if the holder is dead (same host) or has stopped
touching the file (another host). The protocol is that of filelock's ``SoftFileLease``. It never takes over an
empty lock, which a process leaves if it is killed before it has written its name; that is done here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.core.files import cannot_write

if TYPE_CHECKING:
    from filelock import SoftFileLease

LEASE_SECONDS = 60
"""Time without a touch after which the holder of a lock is assumed dead."""
GLANCE_SECONDS = 0.05
"""Long enough to take over the lock of a dead process, too short to wait for a living one."""

UNNAMED_SECONDS = 2.0
"""Age at which a lock that names no holder is assumed abandoned. A holder writes its name at once."""
ATTEMPTS = 3
"""Minimum number of attempts: taking over the lock of a process that died while it took over a lock needs several."""


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
    from filelock import SoftFileLease

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lease = SoftFileLease(path, lease_duration=LEASE_SECONDS)
        acquired = _acquire(lease, path, wait)
    except OSError as error:
        raise cannot_write(path, error) from error
    if not acquired:
        yield False
        return
    try:
        yield True
    finally:
        lease.release()


def remove_dead_locks(folder: Path) -> None:
    """Remove the locks of dead processes in ``folder``, for example those of a shard that nobody runs again."""
    for path in sorted(folder.glob("*.lock")):
        with item_lock(path, wait=0):
            pass  # to release a lock removes it


def _acquire(lease: SoftFileLease, path: Path, wait: float) -> bool:
    """Return whether the lock was acquired. A lock without a name is waited for until it counts as abandoned."""
    from filelock import Timeout

    deadline = time.monotonic() + wait
    for attempt in count(1):
        unnamed = _seconds_without_name(lease, path)
        if unnamed > UNNAMED_SECONDS:
            path.unlink(missing_ok=True)
        elif unnamed:
            deadline = max(deadline, time.monotonic() + UNNAMED_SECONDS - unnamed + GLANCE_SECONDS)
        left = max(0.0, deadline - time.monotonic())
        try:
            lease.acquire(timeout=min(left, UNNAMED_SECONDS / 2), poll_interval=0.02)
        except Timeout:
            if time.monotonic() >= deadline and attempt >= ATTEMPTS:
                return False
        else:
            return True
    raise AssertionError("count ends")


def _seconds_without_name(lease: SoftFileLease, path: Path) -> float:
    """Return the age of a lock file that names no holder; 0 if there is none, or it names one."""
    try:
        written = path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
    return 0.0 if lease.owner is not None else max(time.time() - written, 1e-3)
