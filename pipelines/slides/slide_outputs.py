"""The outline and pictures of a tiled slide: notice those that are missing, damaged or edited by the user."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipelines.core.errors import ArtifactError, SlideError
from pipelines.core.files import canonical_json
from pipelines.core.geojson import read_features
from pipelines.core.json_text import parse_json
from pipelines.core.sealed_json import open_sealed

OUTPUTS_NOTE = "five.outputs"
"""Attribute of a tile table with the digests of the slide's other files, as JSON."""
Digests = Mapping[str, "str | None"]
"""``outline``, ``overview``, ``contact_sheet`` -> digest of the file; None if there is none."""


def recorded_digests(notes: Mapping[str, str]) -> Digests:
    """Return the digests in the notes of a tile table; empty if there are none."""
    digests: Digests = parse_json(notes.get(OUTPUTS_NOTE, "{}"))
    return digests


@dataclass(frozen=True)
class SlideOutputs:
    """The files of a slide besides its tile table."""

    out: Path
    """Output folder of ``five tile``."""
    slide_id: str
    outline_is_given: bool = False
    """Whether the outline is a mask that the user gave; then it is neither written nor checked."""

    @property
    def outline(self) -> Path:
        """Outlines of the tissue."""
        return self.out / "tissue" / f"{self.slide_id}.geojson"

    @property
    def overview(self) -> Path:
        """Overview of the slide."""
        return self.out / "qc" / f"{self.slide_id}.jpg"

    @property
    def contact_sheet(self) -> Path:
        """Pictures of the rejected tiles."""
        return self.out / "qc" / f"{self.slide_id}.dropped.jpg"

    def outline_is_edited(self, recorded: Digests) -> bool:
        """Return whether the outline is valid GeoJSON, but not as this program wrote it.

        Outlines carry a digest of their own content, so this also works without a tile table.
        """
        if self.outline_is_given or not self.outline.exists():
            return False
        data = self.outline.read_bytes()
        return _digest(data) != recorded.get("outline") and not _is_own(data) and _is_geojson(self.outline)

    def are_as_recorded(self, recorded: Digests, *, edited: bool) -> bool:
        """Return whether the files are those that were written; an ``edited`` outline does not count."""
        skipped = {"outline"} if edited or self.outline_is_given else set()
        return all(recorded.get(name) == digest for name, digest in self._digests().items() if name not in skipped)

    def note(self, recorded: Digests, *, edited: bool) -> str:
        """Return the text of the note `OUTPUTS_NOTE`; the outline keeps its digest if it is ``edited``."""
        digests = self._digests()
        if edited or self.outline_is_given:
            digests["outline"] = recorded.get("outline")
        return canonical_json(digests)

    def edited_error(self) -> SlideError:
        """Return the error about an outline that the user edited."""
        return SlideError(
            f"{self.outline}: edited since it was written, or written by another version",
            hint=f"pass --masks {self.out / 'tissue'} (with --overwrite) to use it, or delete it",
        )

    def _digests(self) -> dict[str, str | None]:
        files = {"outline": self.outline, "overview": self.overview, "contact_sheet": self.contact_sheet}
        return {name: _digest(path.read_bytes()) if path.exists() else None for name, path in files.items()}


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _is_own(data: bytes) -> bool:
    try:
        open_sealed(data.decode())
    except ValueError:
        return False
    return True


def _is_geojson(path: Path) -> bool:
    try:
        read_features(path)
    except ArtifactError:
        return False
    return True
