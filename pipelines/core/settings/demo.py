"""Settings of ``five demo cohort``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pipelines.core.settings.base import Settings, require
from pipelines.core.settings.fields import Limits


@dataclass(frozen=True)
class DemoSettings(Settings):
    """Size and random seed of the synthetic cohort."""

    patients: int = 24
    """Number of synthetic patients, at least 4; half of them have each diagnosis."""
    seed: Annotated[int, Limits(min=0)] = 0
    """Random seed; another value draws other slides and writes other reports."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.patients >= 4,
            f"patients: {self.patients} is too few",
            hint="use at least 4, so that each diagnosis has patients for training and for testing",
        )
