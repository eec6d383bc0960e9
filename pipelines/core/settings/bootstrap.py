"""Settings of confidence intervals, shared by the stages that compute metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pipelines.core.settings.base import Settings
from pipelines.core.settings.fields import Limits


@dataclass(frozen=True)
class BootstrapSettings(Settings):
    """How confidence intervals are computed."""

    resamples: Annotated[int, Limits(min=0)] = 1000
    """Number of bootstrap resamples of the patients for the 95 % confidence intervals; 0 for no intervals."""
    seed: int = 0
    """Random seed of the bootstrap."""
