"""Mean and max pooling: a slide is the mean, or the largest value of each channel, of its embedded tiles."""

from __future__ import annotations

from torch import Tensor, nn

from pipelines.model.networks.baselines.aggregator import Aggregator


class MeanPooling(Aggregator):
    """Every tile counts the same."""

    def __init__(self, dim: int, width: int, n_classes: int) -> None:
        super().__init__(dim, width, n_classes)
        self.classify = nn.Linear(width, n_classes)

    def forward(self, tiles: Tensor) -> Tensor:
        """Return the scores of the classes, (K,), of tiles (N, C)."""
        scores: Tensor = self.classify(self.embed(tiles).mean(dim=0))
        return scores


class MaxPooling(MeanPooling):
    """In each channel the tile with the largest value counts."""

    def forward(self, tiles: Tensor) -> Tensor:
        """Return the scores of the classes, (K,), of tiles (N, C)."""
        scores: Tensor = self.classify(self.embed(tiles).amax(dim=0))
        return scores
