"""A digest of the whole file inside a Parquet file, so that damage is noticed when the file is read.

The digest is an entry of the file metadata, which other programs ignore. It is the SHA-256 of the file as it was with
`PLACEHOLDER` in place of the digest. Tables are small (a slide of 100,000 tiles has one of about 3 MB), so they are
written and read as one block of bytes.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from pipelines.core.damage import damaged, read_artifact, without_digest

KEY = "five.digest"
"""Metadata key of the digest."""
PLACEHOLDER = "0" * 64
"""Value of the digest while the digest is computed."""
MAGIC = b"PAR1"
"""First and last four bytes of a Parquet file."""
_ENTRY = re.compile(re.escape(KEY).encode() + rb"\x18\x40([0-9a-f]{64})")
"""Key and value as Thrift's compact protocol encodes them; between them are the type and the length of the value."""


def with_digest(content: bytes) -> bytes:
    """Return the Parquet file ``content``, whose metadata has the placeholder, with its digest."""
    position = _position(content)
    if position is None:
        raise ValueError(f"no {KEY} in the metadata")
    start, end = position
    return content[:start] + hashlib.sha256(content).hexdigest().encode() + content[end:]


def read_checked(path: Path, made_by: str) -> bytes:
    """Return all bytes of a Parquet file after comparing them with the digest in the file.

    Raises
    ------
    ArtifactError
        The file is missing, cannot be read, is damaged, was changed by another program, or has no digest.
    """
    content = read_artifact(path, made_by)
    if len(content) < 12 or content[:4] != MAGIC or content[-4:] != MAGIC:
        raise damaged(path, made_by, "not a complete Parquet file")
    position = _position(content)
    if position is None:
        raise without_digest(path, made_by)
    start, end = position
    digest = hashlib.sha256(content[:start])
    digest.update(PLACEHOLDER.encode())
    digest.update(content[end:])
    if digest.hexdigest().encode() != content[start:end]:
        raise damaged(path, made_by, "the content does not match its digest")
    return content


def _position(content: bytes) -> tuple[int, int] | None:
    """Return start and end of the digest in a file, or None. It is at the end; a table cell may look like one."""
    start = content.rfind(KEY.encode())
    entry = _ENTRY.match(content, start) if start >= 0 else None
    return entry.span(1) if entry else None
