"""Settings of ``five predict``."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, Literal

from pipelines.core.settings.base import require
from pipelines.core.settings.evaluate import SplitName
from pipelines.core.settings.fields import Limits
from pipelines.core.settings.zero_shot import ZeroShotSettings

PredictedSplit = Literal["all", SplitName]


@dataclass(frozen=True)
class PredictSettings(ZeroShotSettings):
    """Which slides are predicted, and what is written besides the probabilities."""

    group: ClassVar[str] = ""

    split: PredictedSplit = "all"
    """Slides to predict: ``train``, ``val`` or ``test`` of the run's splits, or ``all`` slides."""
    max_tiles: Annotated[int, Limits(min=1)] = 200_000
    """Maximum number of tiles per slide; slides with more are sampled evenly.

    The default is more than slides have at 20x. Training validates on 8,192."""
    attention: bool = True
    """Write the attention of each prompt over the tiles; without --run, the similarity of each tile and text."""
    heatmaps: bool = False
    """Draw heatmaps of what speaks for the predicted class, and of the attention or similarities; needs
    ``attention``."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.attention or not self.heatmaps, "heatmaps: they are drawn from the attention", hint="add --attention"
        )

    def require_run(self, *, given: bool) -> None:
        """Check that every setting is used with, or without, a trained run.

        Raises
        ------
        SettingsError
            A setting has another value than its default but is not used.
        """
        if not given:
            require(self.split == "all", f"split: there is no {self.split} split without a run", hint="add --run")
            return
        for field in fields(ZeroShotSettings):
            if field.name == "text_weights":  # a run can have the text tower of the encoder
                continue
            require(
                getattr(self, field.name) == field.default,
                f"{field.name}: not used with --run, whose model has its own pooling and scale",
                hint=f"remove --{field.name.replace('_', '-')}, or remove --run",
            )

    def recorded(self, *, with_run: bool) -> dict[str, Any]:
        """Return the settings that predictions with, or without, a trained run depend on, as plain JSON data.

        The path of the text tower's weights is not among them: the name of the space identifies the weights.
        """
        unused = {field.name for field in fields(ZeroShotSettings)} if with_run else {"split", "text_weights"}
        return {name: value for name, value in self.as_dict().items() if name not in unused}
