"""Write files atomically, remove leftover temporary files, and compute fingerprints."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.core.errors import ArtifactError

SAMPLE = 1 << 20
"""Bytes read at the start, middle and end of a large file for its fingerprint."""
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers for a full disk, an exceeded quota, or a file-size limit."""
LEFTOVER = re.compile(r"\.(?P<host>[0-9a-f]{16})-(?P<pid>\d+)\.part(\.|$)")
"""Host and process in the name of a temporary file."""
LEFTOVER_SECONDS = 86_400
"""Age at which another host's temporary file counts as abandoned."""


PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700
"""Modes of files and folders with report text: only their owner may read them."""


@contextmanager
def replacing(path: Path, *, private: bool = False) -> Iterator[Path]:
    """Yield a temporary file in the same folder that replaces ``path`` when the block ends without an error.

    Close the file inside the block, so that it is closed before the rename:
    ``with replacing(path) as part, h5py.File(part, "w") as h5:``. After an exception
    the temporary file is removed and ``path`` is unchanged.

    Parameters
    ----------
    private
        Only the owner may read the file (mode 0600, from its creation on). By default the umask decides.

    Raises
    ------
    ArtifactError
        The folder is not writable, or the disk is full.
    """
    part = path.with_name(f".{path.stem[:40]}-{secrets.token_hex(4)}{part_suffix()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = _create(part, PRIVATE_FILE if private else 0o666)
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        yield part
        with part.open("rb+") as written:
            os.fsync(written.fileno())
            if stat.S_IMODE(os.fstat(written.fileno()).st_mode) != mode:  # the writer created the file again
                part.chmod(mode)
        part.replace(path)
    except OSError as error:
        if error.errno in NO_SPACE:
            raise cannot_write(path, error) from error
        raise
    finally:
        part.unlink(missing_ok=True)


def _create(path: Path, mode: int) -> int:
    """Create an empty file, and return its mode after the umask (or the default ACL of the folder)."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)
    try:
        return stat.S_IMODE(os.fstat(handle).st_mode)
    finally:
        os.close(handle)


def make_private_folder(folder: Path) -> None:
    """Create ``folder`` so that only its owner may enter it (mode 0700). An existing folder keeps its mode.

    Raises
    ------
    ArtifactError
        The folder cannot be created.
    """
    try:
        folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error


def cannot_write(path: Path, error: OSError) -> ArtifactError:
    """Return the error to raise if ``path`` cannot be written because of ``error``."""
    return ArtifactError(
        f"{path}: cannot write here ({error.strerror})",
        hint="check that the folder is writable and the disk has free space, then run again",
    )


def part_suffix() -> str:
    """Return the suffix of temporary names, which contains the host and the process."""
    return f".{fingerprint(socket.gethostname())}-{os.getpid()}.part"


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files of killed processes below ``folder``; keep those still being written."""
    for root, _, names in os.walk(folder):
        for name in names:
            if is_left_over(Path(root, name)):
                Path(root, name).unlink(missing_ok=True)


def is_left_over(path: Path) -> bool:
    """Return whether ``path`` is a temporary file (see `part_suffix`) whose process has ended."""
    writer = LEFTOVER.search(path.name)
    if writer is None:
        return False
    if writer["host"] == fingerprint(socket.gethostname()):
        return not _is_running(int(writer["pid"]))
    return _is_old(path)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)  # checks for existence only
    except ProcessLookupError:
        return False
    except OSError:  # the process belongs to another user
        return True
    return True


def _is_old(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > LEFTOVER_SECONDS
    except FileNotFoundError:
        return False


def canonical_json(value: Any) -> str:
    """Return JSON with sorted keys, so that equal values give the same text."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)


def fingerprint(value: Any) -> str:
    """Return 16 hexadecimal digits that depend on ``value`` (plain JSON data)."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]


def file_digest(path: Path) -> str:
    """Return the SHA-256 of the whole content of a file, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(SAMPLE):
            digest.update(block)
    return digest.hexdigest()


def file_fingerprint(path: Path) -> str:
    """Return 16 hexadecimal digits that depend on the size and content of a user's file (slide, weights, reports).

    Artifacts of ours carry digests of their whole content; use these instead. Files above 3 MiB are
    sampled at the start, middle and end, so a large slide needs only three reads. Copying or touching
    a file does not change its fingerprint. The fingerprint of a folder depends on the names and sizes
    of its files.
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
