"""Settings of ``five describe-reports evaluate``."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.core.settings.base import Settings, require


@dataclass(frozen=True)
class EvaluateDescriptionsSettings(Settings):
    """How descriptions are compared with reference answers."""

    column_prefix: str = ""
    """What stands before the question id in the column names of the reference table."""
    resamples: int = 1000
    """Bootstrap resamples of the patients for the 95 % intervals; 0 for none."""
    seed: int = 0
    """Seed of the resampling."""

    def __post_init__(self) -> None:
        require(self.resamples >= 0, f"resamples: {self.resamples} is negative")
