"""The instance aggregator of FiVE (CVPR 2024): turn the tiles of a slide and the prompts into one bag embedding.

The bags of a batch are concatenated without padding. Linear layers process all tiles of the batch at
once; attention runs on one bag at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines.model.networks.bag_attention import BagAttention, init_near_zero

BLOCK = 16384
"""Tiles per pass of a layer when no gradients are kept; limits the memory that large bags need."""


@dataclass(frozen=True)
class Pads:
    """The padding that takes part in self-attention in the published network.

    All pads of a bag are equal. They act as a single key whose logit is raised by the logarithm of
    their number.
    """

    positions: Tensor
    """(B, D) position encoding of the pads of each bag."""
    counts: Sequence[int]
    """Number of pads in each of the B bags; 0 if a bag is full."""


class TileFusion(nn.Module):
    """Self-attention among tiles, cross-attention from prompts to tiles, pooling of tiles, projection.

    S tiles in all bags, B bags, N tiles in one bag, P prompts, D channels.

    Parameters
    ----------
    width
        D, a multiple of 64.
    cross_residual
        Add the two residual connections that the published cross-attention block lacks.
    pad_key
        Learn the padding vector of the published network; see `Pads`.
    exact_up_to
        Largest bag (tiles) with exact self-attention; None for any size.
    sharpness
        Pool the tiles with `log_mean_exp` of this sharpness; None for their mean, as published.
    """

    def __init__(
        self,
        width: int,
        *,
        cross_residual: bool,
        pad_key: bool,
        exact_up_to: int | None = None,
        sharpness: float | None = None,
    ) -> None:
        super().__init__()
        self.cross_residual = cross_residual
        self.sharpness = sharpness
        self.self_norm = nn.LayerNorm(width)
        self.self_attention = BagAttention(width, exact_up_to=exact_up_to)
        self.self_mlp_norm = nn.LayerNorm(width)
        self.self_mlp = Mlp(width)
        self.tile_norm = nn.LayerNorm(width)
        self.prompt_norm = nn.LayerNorm(width)
        self.cross_attention = BagAttention(width)
        self.cross_mlp_norm = nn.LayerNorm(width)
        self.cross_mlp = Mlp(width)
        self.project = nn.Linear(2 * width, width)
        self.pad = nn.Parameter(torch.randn(width)) if pad_key else None

    def forward(
        self, tiles: Tensor, positions: Tensor, lengths: Sequence[int], prompts: Tensor, pads: Pads | None = None
    ) -> Tensor:
        """Return the bag embeddings, (B, D), not L2-normalized.

        Parameters
        ----------
        tiles, positions
            (S, D) tile features and their position encodings, one bag after another.
        lengths
            Number of tiles of each of the B bags, at least 1 each, S in total.
        prompts
            (P, D), L2-normalized.
        pads
            Only used by a network with a pad key.
        """
        return self.pool(self.mix(tiles, positions, lengths, pads), positions, lengths, prompts)

    def pool(self, mixed: Tensor, positions: Tensor, lengths: Sequence[int], prompts: Tensor) -> Tensor:
        """Return the bag embeddings, (B, D), given the tiles (S, D) that `mix` returned."""
        pooled = torch.stack([self._pooled(bag) for bag in mixed.split(list(lengths))])  # (B, D)
        queried = self.cross_attention.across(self.prompt_norm(prompts), self.tile_norm(mixed + positions), lengths)
        if self.cross_residual:
            queried = queried + prompts
            queried = queried + self.cross_mlp(self.cross_mlp_norm(queried))
        else:
            queried = self.cross_mlp(self.cross_mlp_norm(queried))  # (B, P, D)
        bags: Tensor = self.project(torch.cat([queried.mean(dim=1), pooled], dim=-1))
        return bags

    def _pooled(self, tiles: Tensor) -> Tensor:
        return tiles.mean(dim=0) if self.sharpness is None else log_mean_exp(tiles, self.sharpness)

    def mix(self, tiles: Tensor, positions: Tensor, lengths: Sequence[int], pads: Pads | None = None) -> Tensor:
        """Return the tiles after self-attention within each bag, (S, D)."""
        hidden = tiles + positions
        pad_keys: Tensor | None = None
        counts: Sequence[int] = ()
        if pads is not None and self.pad is not None:
            pad_keys, counts = self.self_norm(self.pad + pads.positions), pads.counts
        hidden = hidden + self.self_attention.within(self.self_norm(hidden), lengths, pad_keys, counts)
        hidden = hidden + in_blocks(self.self_mlp, self.self_mlp_norm(hidden))
        mixed: Tensor = hidden + tiles
        return mixed

    def attention(self, mixed: Tensor, positions: Tensor, prompts: Tensor) -> Tensor:
        """Return the attention of each prompt (P, D) over one bag (N, D) that `mix` returned, (P, N); rows sum to 1."""
        return self.cross_attention.weights(self.prompt_norm(prompts), self.tile_norm(mixed + positions))


def log_mean_exp(tiles: Tensor, sharpness: float, of: Callable[[Tensor], Tensor] = lambda tiles: tiles) -> Tensor:
    """Return the smooth maximum of the tiles (N, C), (D,): ``log(mean(exp(k x))) / k`` for sharpness k.

    It approaches the mean as k goes to 0 and the maximum as k goes to infinity. Without gradients
    the tiles are processed in blocks.

    Parameters
    ----------
    of
        Function from tiles (N, C) to the vectors to pool (N, D), applied to each block.
    """
    sums = in_blocks(lambda block: torch.logsumexp(sharpness * of(block), dim=0, keepdim=True), tiles)  # (blocks, D)
    return (torch.logsumexp(sums, dim=0) - math.log(len(tiles))) / sharpness


class Mlp(nn.Module):
    """Two linear layers with QuickGELU, x * sigmoid(1.702 x), between them.

    It is computed as silu(1.702 x) / 1.702, which is equal, with the factors inside the matrix
    products. This makes fewer passes over the (N, 4 D) tensor, and autograd stores one less of them.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)
        init_near_zero(self.up)
        init_near_zero(self.down)

    def forward(self, vectors: Tensor) -> Tensor:
        """Return the transformed ``vectors``, (..., D)."""
        rows = vectors.reshape(-1, vectors.shape[-1])
        hidden = functional.silu(torch.addmm(self.up.bias, rows, self.up.weight.T, beta=1.702, alpha=1.702))
        return torch.addmm(self.down.bias, hidden, self.down.weight.T, alpha=1 / 1.702).view_as(vectors)


def in_blocks(layer: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """Return ``layer(rows)`` for rows (N, .); without gradients, apply it in blocks and concatenate the results."""
    if torch.is_grad_enabled() or len(rows) <= BLOCK:
        return layer(rows)
    return torch.cat([layer(block) for block in rows.split(BLOCK)])
