"""Base class of the baselines: turn the tiles of one slide into one score per class."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn
from torch.nn import functional

DROPOUT = 0.25
"""Dropout after the first layer, as in CLAM. All baselines share it, so they differ only in aggregation."""


class Aggregator(nn.Module, ABC):
    """Turn the tiles of a slide into class scores.

    N tiles, C channels of the image encoder, D channels of the model, K classes, P attention maps.
    """

    def __init__(self, dim: int, width: int, n_classes: int) -> None:
        super().__init__()
        self.n_classes = n_classes
        self.embed = nn.Sequential(nn.Linear(dim, width), nn.ReLU(), nn.Dropout(DROPOUT))

    def map_names(self, classes: list[str]) -> tuple[str, ...]:
        """Return the names of the P attention maps; empty if the model has none."""
        return ()

    @abstractmethod
    def forward(self, tiles: Tensor) -> Tensor:
        """Return the class scores (logits), (K,), of one slide's tiles (N, C)."""

    def loss(self, tiles: Tensor, target: Tensor) -> Tensor:
        """Return the loss of one slide of class ``target``, a scalar: cross entropy unless the paper adds a term."""
        return functional.cross_entropy(self(tiles), target)

    def attention(self, tiles: Tensor) -> Tensor:
        """Return the attention maps, (P, N); rows sum to 1."""
        return tiles.new_empty(0, len(tiles))
