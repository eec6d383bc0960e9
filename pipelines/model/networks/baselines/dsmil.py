"""DSMIL: weight tiles by their similarity to the highest-scoring (critical) tile of each class."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines.model.networks.baselines.aggregator import Aggregator

QUERY_WIDTH = 128
"""Channels of the query vectors."""


class Dsmil(Aggregator):
    """Dual-stream multiple-instance learning, Li, Li and Eliceiri, CVPR 2021 (arXiv 2011.08939).

    The first stream scores every tile; the tile with the highest score of a class is its critical
    tile. The second stream weights all tiles by the similarity of their query vector to that of
    the critical tile. Scores and losses are averaged over both streams. The published loss is a
    binary cross entropy per class. Here the classes are mutually exclusive, so it is a
    multi-class cross entropy.
    """

    def __init__(self, dim: int, width: int, n_classes: int) -> None:
        super().__init__(dim, width, n_classes)
        self.classify_tiles = nn.Linear(width, n_classes)
        self.query = nn.Sequential(
            nn.Linear(width, QUERY_WIDTH), nn.ReLU(), nn.Linear(QUERY_WIDTH, QUERY_WIDTH), nn.Tanh()
        )
        self.value = nn.Linear(width, width)
        self.classify = nn.Conv1d(n_classes, n_classes, kernel_size=width)

    def map_names(self, classes: list[str]) -> tuple[str, ...]:
        """Return the class names: there is one attention map per class."""
        return tuple(classes)

    def forward(self, tiles: Tensor) -> Tensor:
        """Return the class scores (logits), (K,), of one slide's tiles (N, C)."""
        return torch.stack(self.streams(self.embed(tiles))).mean(dim=0)

    def loss(self, tiles: Tensor, target: Tensor) -> Tensor:
        """Return the cross entropy, averaged over both streams."""
        streams = torch.stack(self.streams(self.embed(tiles)))  # (2, K)
        return functional.cross_entropy(streams, target.expand(2))

    def attention(self, tiles: Tensor) -> Tensor:
        """Return the weights of the tiles for each class, (K, N); rows sum to 1."""
        embedded = self.embed(tiles)
        return self._attention(embedded, self.classify_tiles(embedded))

    def streams(self, embedded: Tensor) -> tuple[Tensor, Tensor]:
        """Return the class scores of both streams, (K,) each, for embedded tiles (N, D)."""
        scores = self.classify_tiles(embedded)  # (N, K)
        slides = self._attention(embedded, scores) @ self.value(embedded)  # (K, D), one embedding per class
        return scores.amax(dim=0), self.classify(slides[None])[0, :, 0]

    def _attention(self, embedded: Tensor, scores: Tensor) -> Tensor:
        queries = self.query(embedded)  # (N, 128)
        critical = queries[scores.argmax(dim=0)]  # (K, 128)
        weights: Tensor = (critical @ queries.T / math.sqrt(QUERY_WIDTH)).softmax(dim=1)
        return weights
