"""Settings of a prediction without a trained model, from texts alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pipelines.core.settings.base import Settings
from pipelines.core.settings.fields import Limits

ZeroShotPooling = Literal["topk", "mean", "attention"]


@dataclass(frozen=True, kw_only=True)
class ZeroShotSettings(Settings):
    """How the similarities of tiles and texts become probabilities of a slide."""

    group: ClassVar[str] = "Without --run"

    pooling: ZeroShotPooling = "topk"
    """Score of a slide for a class: ``topk`` averages the similarities of the most similar tiles, ``mean`` those of all
    tiles; attention weighs all tiles by a softmax. With texts of other tissue, tiles that prefer these do not count."""
    top_share: Annotated[float | None, Limits(above=0, max=1)] = None
    """Only used with ``pooling=topk``: fraction of the tiles that is averaged. If not set, 0.02; with texts of other
    tissue, 0.3 of the tiles that do not prefer these."""
    top_min: Annotated[int, Limits(min=1)] = 3
    """Minimum number of tiles that are averaged with ``pooling=topk``, and that count with texts of other tissue."""
    temperature: Annotated[float | None, Limits(above=0)] = None
    """Similarities are divided by it before a softmax. If not set, the one that the encoder was trained with."""
    text_weights: Path | None = None
    """Weights file of the encoder (safetensors or PyTorch state dict), from which its text tower is loaded; as
    --weights of `five embed`."""
