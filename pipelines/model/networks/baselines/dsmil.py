"""DSMIL: the tile that speaks most for a class asks the others how like it they are."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines.model.networks.baselines.aggregator import Aggregator

QUERY_WIDTH = 128


class Dsmil(Aggregator):
    """Dual-stream multiple-instance learning, Li, Li and Eliceiri, CVPR 2021 (arXiv 2011.08939).

    One stream scores every tile and takes for each class the highest, the critical tile. The
    other weighs all tiles by the likeness of their query to that of the critical tile. Scores
    and losses are the means of both streams. The published loss is binary, class by class; here
    the classes exclude one another, so that it is cross entropy.
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
        """Return a name for the map of each class."""
        return tuple(classes)

    def forward(self, tiles: Tensor) -> Tensor:
        """Return the scores of the classes, (K,), of tiles (N, C)."""
        return torch.stack(self.streams(self.embed(tiles))).mean(dim=0)

    def loss(self, tiles: Tensor, target: Tensor) -> Tensor:
        """Return the mean of the cross entropies of both streams."""
        streams = torch.stack(self.streams(self.embed(tiles)))  # (2, K)
        return functional.cross_entropy(streams, target.expand(2))

    def attention(self, tiles: Tensor) -> Tensor:
        """Return the likeness of the tiles to the critical tile of each class, (K, N)."""
        embedded = self.embed(tiles)
        return self._likeness(embedded, self.classify_tiles(embedded))

    def streams(self, embedded: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scores (K,) of the critical tiles, and those of the weighted mean of all tiles (N, D)."""
        scores = self.classify_tiles(embedded)  # (N, K)
        slides = self._likeness(embedded, scores) @ self.value(embedded)  # (K, D), one embedding a class
        return scores.amax(dim=0), self.classify(slides[None])[0, :, 0]

    def _likeness(self, embedded: Tensor, scores: Tensor) -> Tensor:
        queries = self.query(embedded)  # (N, 128)
        critical = queries[scores.argmax(dim=0)]  # (K, 128)
        likeness: Tensor = (critical @ queries.T / math.sqrt(QUERY_WIDTH)).softmax(dim=1)
        return likeness
