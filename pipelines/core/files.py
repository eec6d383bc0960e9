"""Files that appear whole or not at all, names that are safe, and fingerprints of contents."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SAMPLE = 1 << 20
"""Bytes read at the head, middle and tail of a large file to fingerprint it."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of ``path`` that replaces it when the block ends well.

    Close what you open inside the block, so that the rename comes after the close:
    ``with replacing(path) as part, h5py.File(part, "w") as h5:``. After an exception
    the temporary file is removed and ``path`` is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem[:80]}-", suffix=f".part{path.suffix}", dir=path.parent)
    os.close(handle)
    part = Path(name)
    try:
        yield part
        with part.open("rb+") as written:
            os.fsync(written.fileno())
        part.chmod(0o666 & ~_umask())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


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
