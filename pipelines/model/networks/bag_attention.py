"""Multi-head attention over concatenated bags: among the tiles of a bag, and from prompts to tiles.

Exact attention among N tiles costs O(N^2). For bags larger than ``exact_up_to``, keys and values are
averaged over 1,024 segments of consecutive tiles in the feature file, which are neighbors on the slide,
and each mean is weighted by the number of its tiles. This costs O(1024 N). It equals exact attention if
the tiles of a segment are equal, and uses the same weights, so one model supports both. Attention from
prompts is always exact, because its cost is linear in N.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines.core.settings.model import HEAD_WIDTH

SEGMENTS = 1024
"""Number of segments that keys and values are averaged over in linear-cost attention."""


@dataclass(frozen=True)
class _KeysAndValues:
    """K keys and values that the tiles of a bag attend to; each represents one or more tiles or pads."""

    keys: Tensor
    """(K, D)"""
    values: Tensor
    """(K, D)"""
    biases: Tensor | None
    """(K,) logarithms of the numbers of tiles or pads that they represent; None if all are 1."""

    def with_pads(self, key: Tensor, value: Tensor, count: int) -> _KeysAndValues:
        """Return them with one more key and value, (D,) each, that represent ``count`` pads."""
        biases = self.keys.new_zeros(len(self.keys)) if self.biases is None else self.biases
        pad_bias = biases.new_full((1,), math.log(count) if count else -math.inf)
        return _KeysAndValues(
            torch.cat([self.keys, key[None]]), torch.cat([self.values, value[None]]), torch.cat([biases, pad_bias])
        )


class BagAttention(nn.Module):
    """Multi-head attention over concatenated bags.

    S tiles in all bags, N tiles in one bag, B bags, P prompts, D channels, H heads of 64 channels.
    """

    def __init__(self, width: int, *, exact_up_to: int | None = None) -> None:
        super().__init__()
        self.heads = width // HEAD_WIDTH
        self.exact_up_to = exact_up_to
        self.in_proj = nn.Linear(width, 3 * width)
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj.weight)
        nn.init.zeros_(self.in_proj.bias)
        init_near_zero(self.out_proj)

    def within(self, tiles: Tensor, lengths: Sequence[int], pads: Tensor | None, counts: Sequence[int]) -> Tensor:
        """Return the tiles after self-attention within each bag, (S, D).

        Parameters
        ----------
        tiles
            (S, D), one bag after another.
        lengths
            Number of tiles of each bag.
        pads, counts
            (B, D) padding vectors, and how many equal pads each represents; None for no padding.
        """
        queries, keys, values = (part.split(list(lengths)) for part in self.in_proj(tiles).chunk(3, dim=-1))
        targets = [self._keys_and_values(*pair) for pair in zip(keys, values, strict=True)]
        if pads is not None:
            _, pad_keys, pad_values = self.in_proj(pads).chunk(3, dim=-1)
            bags = zip(targets, pad_keys, pad_values, counts, strict=True)
            targets = [target.with_pads(key, value, count) for target, key, value, count in bags]
        mixed = [self._attend(q, t.keys, t.values, t.biases) for q, t in zip(queries, targets, strict=True)]
        joined: Tensor = self.out_proj(torch.cat(mixed) if len(mixed) > 1 else mixed[0])
        return joined

    def _keys_and_values(self, keys: Tensor, values: Tensor) -> _KeysAndValues:
        """Return the keys and values (N, D) of a bag or, for a large bag, their means over segments."""
        if self.exact_up_to is None or len(keys) <= max(self.exact_up_to, SEGMENTS):
            return _KeysAndValues(keys, values, None)
        segment = torch.arange(len(keys), device=keys.device) * SEGMENTS // len(keys)
        sizes = torch.bincount(segment, minlength=SEGMENTS).to(keys.dtype)
        sums = [part.new_zeros(len(sizes), part.shape[1]).index_add(0, segment, part) for part in (keys, values)]
        return _KeysAndValues(sums[0] / sizes[:, None], sums[1] / sizes[:, None], sizes.log())

    def across(self, prompts: Tensor, tiles: Tensor, lengths: Sequence[int]) -> Tensor:
        """Return the result of attention from the prompts (P, D) to the tiles (S, D) of each bag, (B, P, D)."""
        width = prompts.shape[-1]
        queries = self._project(prompts, 0)
        projected = functional.linear(tiles, self.in_proj.weight[width:], self.in_proj.bias[width:])
        keys, values = (part.split(list(lengths)) for part in projected.chunk(2, dim=-1))
        attended = [self._attend(queries, k, v, None) for k, v in zip(keys, values, strict=True)]
        joined: Tensor = self.out_proj(torch.stack(attended))
        return joined

    def weights(self, prompts: Tensor, tiles: Tensor) -> Tensor:
        """Return the attention of the prompts (P, D) over the tiles (N, D) of one bag, (P, N).

        It is averaged over the heads; rows sum to 1.
        """
        queries, keys = self._by_head(self._project(prompts, 0)), self._by_head(self._project(tiles, 1))
        scores = queries @ keys.transpose(-1, -2) / math.sqrt(HEAD_WIDTH)  # (1, H, P, N)
        return scores.softmax(dim=-1).mean(dim=(0, 1))

    def _project(self, vectors: Tensor, part: int) -> Tensor:
        width = vectors.shape[-1]
        rows = slice(part * width, (part + 1) * width)
        return functional.linear(vectors, self.in_proj.weight[rows], self.in_proj.bias[rows])

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor, biases: Tensor | None) -> Tensor:
        mask = None if biases is None else biases.expand(1, 1, len(queries), len(keys))
        attended = functional.scaled_dot_product_attention(
            self._by_head(queries), self._by_head(keys), self._by_head(values), attn_mask=mask
        )
        return attended[0].transpose(0, 1).flatten(1)

    def _by_head(self, vectors: Tensor) -> Tensor:
        return vectors.view(len(vectors), self.heads, HEAD_WIDTH).transpose(0, 1)[None]  # (1, H, n, 64)


def init_near_zero(layer: nn.Linear) -> None:
    """Initialize a layer with small weights (standard deviation 0.02) and no bias, as the published network does."""
    nn.init.trunc_normal_(layer.weight, std=0.02)
    nn.init.zeros_(layer.bias)
