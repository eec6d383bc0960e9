"""One process at a time on an item, across processes and machines that share a folder.

A lock is a file created exclusively (O_EXCL) that names host and process and is touched while
its holder lives. It is taken over when its process is dead (same host) or has stopped touching
it (another host). The protocol is filelock's ``SoftFileLease``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.core.files import cannot_write

LEASE_SECONDS = 60
"""A holder that has not touched its lock for so long is taken for dead."""
GLANCE_SECONDS = 0.05
"""Long enough to clear the lock of a dead process, too short to wait for a living one."""


@contextmanager
def item_lock(path: Path, *, wait: float = GLANCE_SECONDS) -> Iterator[bool]:
    """Hold the lock at ``path`` during the block; yield False if another process keeps it.

    Parameters
    ----------
    wait
        Seconds to try. More than `LEASE_SECONDS` outlasts a holder that died on another host.

    Raises
    ------
    ArtifactError
        The lock cannot be written.
    """
    from filelock import SoftFileLease, Timeout

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lease = SoftFileLease(path, lease_duration=LEASE_SECONDS)
        lease.acquire(timeout=wait, poll_interval=0.02)
    except Timeout:
        yield False
        return
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        yield True
    finally:
        lease.release()
