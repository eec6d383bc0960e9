"""JSON records that carry a digest of their own content, so that damage is noticed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.core.files import fingerprint, replacing
from pipelines.core.json_text import parse_json

DIGEST = "digest"
"""Key of the digest, which covers all other keys."""


def seal(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``record`` (plain JSON data) with its digest as the last key."""
    return {**record, DIGEST: fingerprint(record)}


def write_sealed(path: Path, record: Mapping[str, Any], *, private: bool = False) -> None:
    """Write ``record`` with its digest to ``path``, completely or not at all.

    Parameters
    ----------
    private
        Only the owner may read the file.
    """
    with replacing(path, private=private) as part:
        part.write_text(json.dumps(seal(record), indent=2) + "\n", encoding="utf-8")


def open_sealed(text: str) -> dict[str, Any]:
    """Return the record in JSON ``text``, without its digest.

    Raises
    ------
    ValueError
        The text is not the JSON of a sealed record, or its content has changed.
    """
    record = parse_json(text)
    if not isinstance(record, dict) or DIGEST not in record:
        raise ValueError("not a record with a digest")
    digest = record.pop(DIGEST)
    if digest != fingerprint(record):
        raise ValueError("the content does not match its digest")
    return record
