"""TransMIL: linear-cost self-attention among tiles, with convolutions as position encoding."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pipelines.model.networks.baselines.aggregator import Aggregator
from pipelines.model.networks.baselines.nystrom import NystromAttention

KERNELS = (7, 5, 3)
"""Kernel sizes of the convolutions in the position encoding."""


class TransMil(Aggregator):
    """Transformer-based correlated multiple-instance learning, Shao et al., NeurIPS 2021 (arXiv 2106.00908).

    The tiles, in the order of the feature file, fill a square row by row. The first tiles are
    repeated to fill its last places. This is the only baseline that depends on the order of the tiles.
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
        """Return the class scores (logits), (K,), of one slide's tiles (N, C)."""
        side = math.ceil(math.sqrt(len(tiles)))
        embedded = fill_square(self.embed(tiles), side)
        hidden = torch.cat([self.class_token, embedded])
        hidden = hidden + self.first(self.first_norm(hidden))
        hidden = torch.cat([hidden[:1], self.encode_positions(hidden[1:], side)])
        hidden = hidden + self.second(self.second_norm(hidden))
        scores: Tensor = self.classify(self.norm(hidden[0]))
        return scores

    def encode_positions(self, tiles: Tensor, side: int) -> Tensor:
        """Add depth-wise convolutions over the square to its tiles, (side * side, D)."""
        square = tiles.T.reshape(1, -1, side, side)
        mixed: Tensor = square + sum(convolve(square) for convolve in self.place)
        encoded: Tensor = mixed.flatten(2)[0].T
        return encoded


def fill_square(tiles: Tensor, side: int) -> Tensor:
    """Return (side * side, D): the tiles (N, D), then the first tiles again."""
    return torch.cat([tiles, tiles[: side * side - len(tiles)]])
