"""Settings of ``five demo cohort``."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.core.settings.base import Settings, require


@dataclass(frozen=True)
class DemoSettings(Settings):
    """Size and seed of the synthetic cohort."""

    patients: int = 24
    """Invented patients, half of each diagnosis."""
    seed: int = 0
    """Another seed draws other slides and writes other reports."""

    def __post_init__(self) -> None:
        require(
            self.patients >= 4,
            f"patients: {self.patients} is too few",
            hint="at least 4, so that each diagnosis has patients to train on and to hold out",
        )
        require(self.seed >= 0, f"seed: {self.seed} is negative")
