"""Settings of ``five evaluate``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipelines.core.settings.base import Settings
from pipelines.core.settings.bootstrap import BootstrapSettings

Level = Literal["slide", "patient"]
SplitName = Literal["train", "val", "test"]


@dataclass(frozen=True)
class EvaluatedPredictions(Settings):
    """Which predictions are evaluated."""

    level: Level = "slide"
    """Unit of evaluation: one prediction per ``slide``, or the mean of a patient's slides per ``patient``."""
    split: SplitName = "test"
    """Split to evaluate. ``test`` also includes slides outside the run's splits, unless the run was trained on their
    patient."""


@dataclass(frozen=True)
class EvaluateSettings(BootstrapSettings, EvaluatedPredictions):  # fields of the last base come first
    """Which predictions are evaluated, and how the confidence intervals are computed."""
