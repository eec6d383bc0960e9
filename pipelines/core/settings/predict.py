"""Settings of ``five predict``."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.core.errors import SettingsError
from pipelines.core.settings.base import Settings, require


@dataclass(frozen=True)
class PredictSettings(Settings):
    """Which slides are predicted and what is written beside the probabilities."""

    split: str = "all"
    """``test``, ``val`` or ``train`` of the run's splits, or ``all`` slides."""
    max_tiles: int = 200_000
    """Most tiles of a slide, spread evenly. More than slides have at 20x; training validates on 8,192."""
    attention: bool = True
    """Write the attention of each prompt over the tiles."""
    heatmaps: bool = False
    """Draw the attention of the question prompts; needs ``attention``."""

    def __post_init__(self) -> None:
        if self.split not in ("all", "train", "val", "test"):
            raise SettingsError(f"split: {self.split!r} is not known", hint="use all, train, val or test")
        require(self.max_tiles > 0, f"max_tiles: {self.max_tiles} is not a positive number")
        require(
            self.attention or not self.heatmaps, "heatmaps: they are drawn from the attention", hint="add --attention"
        )
