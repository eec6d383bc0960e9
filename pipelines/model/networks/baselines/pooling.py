"""Mean and max pooling of embedded tiles."""

from __future__ import annotations

from torch import Tensor, nn

from pipelines.model.networks.baselines.aggregator import Aggregator


class MeanPooling(Aggregator):
    """Classify the mean of the embedded tiles."""

    def __init__(self, dim: int, width: int, n_classes: int) -> None:
        super().__init__(dim, width, n_classes)
        self.classify = nn.Linear(width, n_classes)

    def forward(self, tiles: Tensor) -> Tensor:
        """Return the class scores (logits), (K,), of one slide's tiles (N, C)."""
        scores: Tensor = self.classify(self.embed(tiles).mean(dim=0))
        return scores


class MaxPooling(MeanPooling):
    """Classify the maximum over the embedded tiles, channel by channel."""

    def forward(self, tiles: Tensor) -> Tensor:
        """Return the class scores (logits), (K,), of one slide's tiles (N, C)."""
        scores: Tensor = self.classify(self.embed(tiles).amax(dim=0))
        return scores
