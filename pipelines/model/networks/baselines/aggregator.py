"""What the baselines have in common: tiles of one slide in, a score for each class out."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn
from torch.nn import functional

DROPOUT = 0.25
"""After the first layer, as published with CLAM; the same for all, so that they differ in aggregation only."""


class Aggregator(nn.Module, ABC):
    """Tiles of a slide to scores of the classes.

    N tiles, C channels of the image encoder, D of the model, K classes, P attention maps.
    """

    def __init__(self, dim: int, width: int, n_classes: int) -> None:
        super().__init__()
        self.n_classes = n_classes
        self.embed = nn.Sequential(nn.Linear(dim, width), nn.ReLU(), nn.Dropout(DROPOUT))

    def map_names(self, classes: list[str]) -> tuple[str, ...]:
        """Return the names of the P attention maps; none if the model has none."""
        return ()

    @abstractmethod
    def forward(self, tiles: Tensor) -> Tensor:
        """Return the scores of the classes, (K,), of tiles (N, C)."""

    def loss(self, tiles: Tensor, target: Tensor) -> Tensor:
        """Return the loss of one slide of class ``target``, a scalar: cross entropy unless a paper adds to it."""
        return functional.cross_entropy(self(tiles), target)

    def attention(self, tiles: Tensor) -> Tensor:
        """Return the attention maps, (P, N); rows sum to 1."""
        return tiles.new_empty(0, len(tiles))
