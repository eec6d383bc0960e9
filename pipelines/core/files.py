"""Files that appear whole or not at all, names that are safe, and fingerprints of contents."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.core.errors import ArtifactError

SAMPLE = 1 << 20
"""Bytes read at the head, middle and tail of a large file to fingerprint it."""
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Numbers of the errors of writing that come from a full disk, a quota, or a limit of the file system."""
LEFTOVER = re.compile(r"\.(?P<host>[0-9a-f]{16})-(?P<pid>\d+)\.part(\.|$)")
"""In the name of a temporary file: where and by whom it is written."""
LEFTOVER_SECONDS = 86_400
"""A temporary file of another host that nobody wrote to for so long is nobody's."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of ``path`` that replaces it when the block ends well.

    Close what you open inside the block, so that the rename comes after the close:
    ``with replacing(path) as part, h5py.File(part, "w") as h5:``. After an exception
    the temporary file is removed and ``path`` is as it was.

    Raises
    ------
    ArtifactError
        The folder cannot be written, or the disk is full.
    """
    suffix = f"{part_suffix()}{path.suffix}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem[:40]}-", suffix=suffix, dir=path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error
    os.close(handle)
    part = Path(name)
    try:
        yield part
        with part.open("rb+") as written:
            os.fsync(written.fileno())
        part.chmod(0o666 & ~_umask())
        part.replace(path)
    except OSError as error:
        if error.errno in NO_SPACE:
            raise cannot_write(path, error) from error
        raise
    finally:
        part.unlink(missing_ok=True)


def cannot_write(path: Path, error: OSError) -> ArtifactError:
    """Return the error to raise where ``error`` kept ``path`` from being written."""
    return ArtifactError(
        f"{path}: cannot write here ({error.strerror})",
        hint="check the folder, its rights and the free space, then run again",
    )


def part_suffix() -> str:
    """Return the end of a temporary name, which tells the host and process that write under it."""
    return f".{fingerprint(socket.gethostname())}-{os.getpid()}.part"


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that killed processes left below ``folder``; those being written stay."""
    for root, _, names in os.walk(folder):
        for name in names:
            if is_left_over(Path(root, name)):
                Path(root, name).unlink(missing_ok=True)


def is_left_over(path: Path) -> bool:
    """Tell whether ``path`` has a temporary name (see `part_suffix`) and its process has gone."""
    found = LEFTOVER.search(path.name)
    if found is None:
        return False
    if found["host"] == fingerprint(socket.gethostname()):
        return not _is_running(int(found["pid"]))
    return _is_old(path)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)  # sends nothing
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


def _is_old(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > LEFTOVER_SECONDS
    except FileNotFoundError:
        return False


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def canonical_json(value: Any) -> str:
    """Return JSON with sorted keys, the same text for equal values."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)


def fingerprint(value: Any) -> str:
    """Return 16 hexadecimal digits that differ when ``value`` (plain JSON data) differs."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]


def file_fingerprint(path: Path) -> str:
    """Return 16 hexadecimal digits of the size and content of a file.

    Files above 3 MiB are sampled (head, middle, tail), so a slide of many gigabytes costs
    three reads. A copied or touched file keeps its fingerprint. A folder is fingerprinted
    by the names and sizes of its files.
    """
    if path.is_dir():
        return fingerprint(sorted((p.name, p.stat().st_size) for p in path.iterdir() if p.is_file()))
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as stream:
        if size <= 3 * SAMPLE:
            digest.update(stream.read())
        else:
            for offset in (0, (size - SAMPLE) // 2, size - SAMPLE):
                stream.seek(offset)
                digest.update(stream.read(SAMPLE))
    return digest.hexdigest()[:16]
