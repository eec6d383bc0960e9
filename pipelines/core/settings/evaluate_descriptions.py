"""Settings of ``five evaluate-descriptions``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pipelines.core.settings.base import Settings
from pipelines.core.settings.fields import Limits


@dataclass(frozen=True)
class EvaluateDescriptionsSettings(Settings):
    """How descriptions are compared with reference answers."""

    column_prefix: str = ""
    """Prefix of the question ids in the column names of the reference table, for example gold_ for gold_margins."""
    resamples: Annotated[int, Limits(min=0)] = 1000
    """Number of bootstrap resamples of the patients for the 95 % confidence intervals; 0 for no intervals."""
    seed: int = 0
    """Random seed of the bootstrap."""
