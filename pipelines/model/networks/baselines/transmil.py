"""TransMIL: self-attention of linear cost among tiles, and convolutions that tell it where they stand."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pipelines.model.networks.baselines.aggregator import Aggregator
from pipelines.model.networks.baselines.nystrom import NystromAttention

KERNELS = (7, 5, 3)
"""Edges of the convolutions of the position encoding."""


class TransMil(Aggregator):
    """Transformer-based correlated multiple-instance learning, Shao et al., NeurIPS 2021 (arXiv 2106.00908).

    The tiles, in the order of the feature file, fill a square row by row; where they do not, the
    first ones stand in again. The paper's order matters: it is the one baseline that sees it.
    """

    def __init__(self, dim: int, width: int, n_classes: int) -> None:
        super().__init__(dim, width, n_classes)
        self.class_token = nn.Parameter(1e-2 * torch.randn(1, width))
        self.first_norm, self.first = nn.LayerNorm(width), NystromAttention(width)
        self.place = nn.ModuleList(nn.Conv2d(width, width, k, padding=k // 2, groups=width) for k in KERNELS)
        self.second_norm, self.second = nn.LayerNorm(width), NystromAttention(width)
        self.norm = nn.LayerNorm(width)
        self.classify = nn.Linear(width, n_classes)

    def forward(self, tiles: Tensor) -> Tensor:
        """Return the scores of the classes, (K,), of tiles (N, C)."""
        side = math.ceil(math.sqrt(len(tiles)))
        embedded = squared(self.embed(tiles), side)
        hidden = torch.cat([self.class_token, embedded])
        hidden = hidden + self.first(self.first_norm(hidden))
        hidden = torch.cat([hidden[:1], self.placed(hidden[1:], side)])
        hidden = hidden + self.second(self.second_norm(hidden))
        scores: Tensor = self.classify(self.norm(hidden[0]))
        return scores

    def placed(self, tiles: Tensor, side: int) -> Tensor:
        """Add to each of side * side tiles (., D) depth-wise convolutions over its neighbours in the square."""
        square = tiles.T.reshape(1, -1, side, side)
        mixed: Tensor = square + sum(convolve(square) for convolve in self.place)
        placed: Tensor = mixed.flatten(2)[0].T
        return placed


def squared(tiles: Tensor, side: int) -> Tensor:
    """Return side * side rows: the tiles (N, D), then the first ones again."""
    return torch.cat([tiles, tiles[: side * side - len(tiles)]])
