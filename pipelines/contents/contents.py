"""What is told of a slide, an artifact or a folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pipelines.core.provenance import Provenance

CAN_BE = "give a slide, a Parquet table, a feature or attention file, outlines (.geojson), or a folder that five wrote"


@dataclass(frozen=True)
class Contents:
    """What was found at a path, as plain JSON data."""

    path: str
    what: str
    """The kind of thing, in words."""
    facts: dict[str, Any] = field(default_factory=dict)
    counts: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Rows of one or two values and their number ``n``, by the names of what is counted."""
    lists: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    """Settings of the stage that made it."""


def provenance_facts(provenance: Provenance) -> dict[str, Any]:
    """Return what made an artifact, without its settings."""
    return {
        "five_version": provenance.five_version,
        "settings_fingerprint": provenance.settings_fingerprint,
        "input_fingerprint": provenance.input_fingerprint or None,
    }
