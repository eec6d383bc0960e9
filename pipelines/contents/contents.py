"""The description of a slide, an artifact or a folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pipelines.core.provenance import Provenance

CAN_BE = "give a slide, a Parquet table, a feature or attention file, outlines (.geojson), or a folder that five wrote"


@dataclass(frozen=True)
class Contents:
    """Description of a file or folder, as plain JSON data."""

    path: str
    what: str
    """Kind of file or folder, in words."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Name -> value of single properties: sizes, scale, provenance."""
    counts: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Title -> rows; each row has one or two column values and the number ``n`` of rows that have them."""
    lists: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Title -> rows: files, columns, datasets, failures."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Settings of the command that wrote the artifact."""


def provenance_facts(provenance: Provenance) -> dict[str, Any]:
    """Return version and fingerprints from ``provenance``; the settings have their own field."""
    return {
        "five_version": provenance.five_version,
        "settings_fingerprint": provenance.settings_fingerprint,
        "input_fingerprint": provenance.input_fingerprint or None,
    }
