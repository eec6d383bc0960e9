"""Settings of ``five evaluate``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pipelines.core.settings.base import Settings
from pipelines.core.settings.fields import Limits

Level = Literal["slide", "patient"]
SplitName = Literal["train", "val", "test"]


@dataclass(frozen=True)
class EvaluateSettings(Settings):
    """Which predictions are evaluated, and how the confidence intervals are computed."""

    level: Level = "slide"
    """Unit of evaluation: one prediction per ``slide``, or the mean of a patient's slides per ``patient``."""
    split: SplitName = "test"
    """Split to evaluate. ``test`` also includes slides outside the run's splits, unless the run was trained on their
    patient."""
    resamples: Annotated[int, Limits(min=0)] = 1000
    """Number of bootstrap resamples of the patients for the 95 % confidence intervals; 0 for no intervals."""
    seed: int = 0
    """Random seed of the bootstrap."""
