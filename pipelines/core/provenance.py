"""The origin of an artifact: program version, settings and input. Every artifact stores it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipelines import __version__
from pipelines.core.files import canonical_json, fingerprint
from pipelines.core.json_text import parse_json
from pipelines.core.settings import Settings


@dataclass(frozen=True)
class Provenance:
    """Settings and input from which an artifact was made."""

    settings: dict[str, Any]
    """Settings of the stage, as plain JSON data."""
    input_fingerprint: str = ""
    """Fingerprint of the input file or files."""
    five_version: str = ""
    """Version of the program that wrote the artifact."""

    @classmethod
    def of(cls, settings: Settings, input_fingerprint: str = "") -> Provenance:
        """Return the provenance of an artifact made by this program version."""
        return cls(settings.as_dict(), input_fingerprint, __version__)

    @property
    def settings_fingerprint(self) -> str:
        """16 hexadecimal digits that depend on the settings."""
        return fingerprint(self.settings)

    def same_work(self, other: Provenance) -> bool:
        """Return whether both have the same settings and input; program versions may differ."""
        return (
            self.settings_fingerprint == other.settings_fingerprint
            and self.input_fingerprint == other.input_fingerprint
        )

    def to_attributes(self) -> dict[str, str]:
        """Return string attributes for Parquet metadata or HDF5 root attributes."""
        return {
            "five.version": self.five_version,
            "five.settings": canonical_json(self.settings),
            "five.settings_fingerprint": self.settings_fingerprint,
            "five.input_fingerprint": self.input_fingerprint,
        }

    @classmethod
    def from_attributes(cls, attributes: dict[str, str]) -> Provenance:
        """Return the provenance stored by `to_attributes`."""
        return cls(
            settings=parse_json(attributes.get("five.settings", "{}")),
            input_fingerprint=attributes.get("five.input_fingerprint", ""),
            five_version=attributes.get("five.version", ""),
        )
