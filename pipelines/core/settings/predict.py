"""Settings of ``five predict``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pipelines.core.settings.base import Settings, require
from pipelines.core.settings.evaluate import SplitName
from pipelines.core.settings.fields import Limits

PredictedSplit = Literal["all", SplitName]


@dataclass(frozen=True)
class PredictSettings(Settings):
    """Which slides are predicted, and what is written besides the probabilities."""

    split: PredictedSplit = "all"
    """Slides to predict: ``train``, ``val`` or ``test`` of the run's splits, or ``all`` slides."""
    max_tiles: Annotated[int, Limits(min=1)] = 200_000
    """Maximum number of tiles per slide; slides with more are sampled evenly.

    The default is more than slides have at 20x. Training validates on 8,192."""
    attention: bool = True
    """Write the attention of each prompt over the tiles."""
    heatmaps: bool = False
    """Draw heatmaps of the attention of the question prompts; needs ``attention``."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.attention or not self.heatmaps, "heatmaps: they are drawn from the attention", hint="add --attention"
        )
