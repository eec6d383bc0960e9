"""The instance aggregator: tiles of a slide and prompts in, one bag embedding out (FiVE, CVPR 2024).

Bags of any length are packed one after another without padding: linear layers see all tiles of a
batch at once, attention runs bag by bag.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines.model.networks.bag_attention import BagAttention, small_linear

BLOCK = 16384
"""Tiles that a layer transforms at once where no gradients are kept: bounds the memory of large bags."""


@dataclass(frozen=True)
class Pads:
    """The padding that the published network lets take part in self-attention.

    All pads of a bag are equal, so that they act as one key whose logit is raised by the
    logarithm of their number.
    """

    positions: Tensor
    """(B, D) position encoding of the pads of each bag."""
    counts: Sequence[int]
    """B numbers of pads; 0 where a bag is full."""


class TileFusion(nn.Module):
    """Self-attention among tiles, cross-attention from prompts, mean-pooled branch, projection.

    S tiles of all bags together, B bags, P prompts, D channels. The arithmetic is that of the
    published network; ``cross_residual`` adds the two residual connections that it lacks in the
    cross-attention block, and ``sharpness`` puts `log_mean_exp` in place of the mean of the tiles.
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
        """Return the bag embeddings, (B, D), not normalised.

        Parameters
        ----------
        tiles, positions
            (S, D) tile features and position encodings, bag after bag.
        lengths
            Tiles of each bag; B numbers that add up to S, none of them 0.
        prompts
            (P, D), L2-normalised.
        pads
            Only for a network with a pad key.
        """
        return self.pool(self.mix(tiles, positions, lengths, pads), positions, lengths, prompts)

    def pool(self, mixed: Tensor, positions: Tensor, lengths: Sequence[int], prompts: Tensor) -> Tensor:
        """Return the bag embeddings, (B, D), of tiles (S, D) that `mix` returned."""
        pooled = torch.stack([self._pooled(bag) for bag in mixed.split(list(lengths))])  # (B, D)
        found = self.cross_attention.across(self.prompt_norm(prompts), self.tile_norm(mixed + positions), lengths)
        if self.cross_residual:
            found = found + prompts
            found = found + self.cross_mlp(self.cross_mlp_norm(found))
        else:
            found = self.cross_mlp(self.cross_mlp_norm(found))  # (B, P, D)
        bags: Tensor = self.project(torch.cat([found.mean(dim=1), pooled], dim=-1))
        return bags

    def _pooled(self, tiles: Tensor) -> Tensor:
        return tiles.mean(dim=0) if self.sharpness is None else log_mean_exp(tiles, self.sharpness)

    def mix(self, tiles: Tensor, positions: Tensor, lengths: Sequence[int], pads: Pads | None = None) -> Tensor:
        """Return the tiles after self-attention within their bag, (S, D)."""
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
        """Return what each prompt (P, D) looks at in one bag (N, D) that `mix` returned: (P, N), rows sum to 1."""
        return self.cross_attention.weights(self.prompt_norm(prompts), self.tile_norm(mixed + positions))


def log_mean_exp(tiles: Tensor, sharpness: float, of: Callable[[Tensor], Tensor] = lambda tiles: tiles) -> Tensor:
    """Return the smooth maximum of the tiles (N, D), (D,): the logarithm of the mean of exp(k x), over k.

    Sharpness k: towards 0 it is their mean, towards infinity their maximum. Block by block without gradients.

    Parameters
    ----------
    of
        What is pooled of the tiles, one by one.
    """
    sums = in_blocks(lambda block: torch.logsumexp(sharpness * of(block), dim=0, keepdim=True), tiles)  # (blocks, D)
    return (torch.logsumexp(sums, dim=0) - math.log(len(tiles))) / sharpness


class Mlp(nn.Module):
    """Two linear layers with QuickGELU, x * sigmoid(1.702 x), between them.

    Computed as silu(1.702 x) / 1.702, the same function, with the factors inside the matrix
    products: fewer passes over (N, 4 D), and of it autograd keeps one tensor less.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)
        small_linear(self.up)
        small_linear(self.down)

    def forward(self, vectors: Tensor) -> Tensor:
        """Return ``vectors`` (..., D) transformed one by one."""
        rows = vectors.reshape(-1, vectors.shape[-1])
        hidden = functional.silu(torch.addmm(self.up.bias, rows, self.up.weight.T, beta=1.702, alpha=1.702))
        return torch.addmm(self.down.bias, hidden, self.down.weight.T, alpha=1 / 1.702).view_as(vectors)


def in_blocks(layer: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """Return ``layer(rows)`` of rows (N, .); without gradients block by block, the results one after the other."""
    if torch.is_grad_enabled() or len(rows) <= BLOCK:
        return layer(rows)
    return torch.cat([layer(block) for block in rows.split(BLOCK)])
