"""Settings of ``five evaluate``."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.core.settings.base import Settings, require


@dataclass(frozen=True)
class EvaluateSettings(Settings):
    """Which predictions are counted, and how sure the figures are."""

    level: str = "slide"
    """What is counted: ``slide`` or ``patient``."""
    split: str = "test"
    """Split whose predictions are counted: ``test``, ``val`` or ``train``. ``test`` takes in
    slides the run has never seen, unless it has trained on their patient."""
    resamples: int = 1000
    """Bootstrap resamples of the patients for the 95 % intervals; 0 for none."""
    seed: int = 0
    """Seed of the resampling."""

    def __post_init__(self) -> None:
        require(self.level in ("slide", "patient"), f"level: {self.level!r} is not known", hint="use slide or patient")
        require(
            self.split in ("test", "val", "train"), f"split: {self.split!r} is not known", hint="use test, val or train"
        )
        require(self.resamples >= 0, f"resamples: {self.resamples} is negative")
