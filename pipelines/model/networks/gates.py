"""Gates: fixed attention maps that follow how the tiles of a slide differ from each other.

The tiles of a slide, less their mean, are projected on the main directions of variation within the training slides. For
each direction, one gate attends to the tiles at its positive end and one to those at its negative end. On slides with
tumor the first direction is often tumor against the rest. Another gate attends to all tiles equally.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

SHARPNESS = 2.0
"""Factor of the projections, which have a standard deviation of 1, before the softmax over the tiles."""


class Gates(nn.Module):
    """Attention of G gates over the tiles of a slide. G is 1 + 2 K for K directions.

    N tiles, C channels of the image encoder.
    """

    directions: Tensor
    """(K, C) directions, scaled so that the projections of training tiles have a standard deviation of 1."""

    def __init__(self, n_directions: int, channels: int) -> None:
        super().__init__()
        self.register_buffer("directions", torch.zeros(n_directions, channels))

    @property
    def count(self) -> int:
        """G, the number of gates."""
        return 1 + 2 * len(self.directions)

    def forward(self, tiles: Tensor) -> Tensor:
        """Return the attention of each gate over scaled ``tiles`` (N, C), (G, N); rows sum to 1.

        The first gate is uniform; then each direction has one gate for each of its ends.
        """
        projections = (tiles - tiles.mean(dim=0)) @ self.directions.T  # (N, K)
        ends = SHARPNESS * torch.stack([projections, -projections], dim=2).flatten(1)  # (N, 2 K)
        uniform = torch.full_like(tiles[:, :1], 1 / len(tiles))
        return torch.cat([uniform, ends.softmax(dim=0)], dim=1).T

    def fit(self, covariance: Tensor) -> None:
        """Set the directions to the main axes of the ``covariance`` (C, C) of tiles within slides.

        Where tiles do not vary, a direction is 0, and its gates are uniform.
        """
        variances, axes = torch.linalg.eigh(covariance.double())
        k = len(self.directions)
        main, variances = axes.flip(1)[:, :k].T, variances.flip(0)[:k]
        strongest = main.gather(1, main.abs().argmax(dim=1, keepdim=True))
        scaled = main * strongest.sign() / variances.clamp(min=1e-12).sqrt()[:, None]  # sign fixed, to be reproducible
        varies = (variances > 1e-12) & (variances > 1e-6 * variances[0])
        self.directions.copy_(scaled * varies[:, None])
