"""Multi-head attention over packed bags, within a bag and from prompts.

Attention among N tiles costs N times N. That of a bag longer than ``exact_up_to`` costs N times
1,024: keys and values are averaged over 1,024 stretches of the feature file, neighbours on the
slide, and each mean counts as often as it has members. It equals exact attention where the members
of a stretch are alike, and has the same weights, so that one model serves both. The attention of
prompts is exact: its cost is linear anyway.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines.core.settings.model import HEAD_WIDTH

STRETCHES = 1024
"""Stretches over which keys and values are averaged in attention of linear cost."""


@dataclass(frozen=True)
class _Targets:
    """What the tiles of a bag attend to: K keys and values, (K, D), that stand for one or more each."""

    keys: Tensor
    values: Tensor
    biases: Tensor | None
    """(K,) logarithms of the numbers they stand for; None where all are one."""

    def with_pads(self, key: Tensor, value: Tensor, count: int) -> _Targets:
        """Add ``count`` pads with one key and value, (D,)."""
        biases = self.keys.new_zeros(len(self.keys)) if self.biases is None else self.biases
        weight = biases.new_full((1,), math.log(count) if count else -math.inf)
        return _Targets(
            torch.cat([self.keys, key[None]]), torch.cat([self.values, value[None]]), torch.cat([biases, weight])
        )


class BagAttention(nn.Module):
    """Multi-head attention over packed bags.

    S tiles of all bags together, B bags, P prompts, D channels, H heads of 64 channels.
    """

    def __init__(self, width: int, *, exact_up_to: int | None = None) -> None:
        super().__init__()
        self.heads = width // HEAD_WIDTH
        self.exact_up_to = exact_up_to
        self.in_proj = nn.Linear(width, 3 * width)
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj.weight)
        nn.init.zeros_(self.in_proj.bias)
        small_linear(self.out_proj)

    def within(self, tiles: Tensor, lengths: Sequence[int], pads: Tensor | None, counts: Sequence[int]) -> Tensor:
        """Let the tiles of each bag attend to one another; return (S, D).

        ``pads`` (B, D) adds one key a bag that stands for ``counts`` equal ones.
        """
        queries, keys, values = (part.split(list(lengths)) for part in self.in_proj(tiles).chunk(3, dim=-1))
        targets = [self._targets(*one) for one in zip(keys, values, strict=True)]
        if pads is not None:
            _, pad_keys, pad_values = self.in_proj(pads).chunk(3, dim=-1)
            one_each = zip(targets, pad_keys, pad_values, counts, strict=True)
            targets = [target.with_pads(key, value, count) for target, key, value, count in one_each]
        mixed = [self._attend(q, t.keys, t.values, t.biases) for q, t in zip(queries, targets, strict=True)]
        joined: Tensor = self.out_proj(torch.cat(mixed) if len(mixed) > 1 else mixed[0])
        return joined

    def _targets(self, keys: Tensor, values: Tensor) -> _Targets:
        if self.exact_up_to is None or len(keys) <= max(self.exact_up_to, STRETCHES):
            return _Targets(keys, values, None)
        stretch = torch.arange(len(keys), device=keys.device) * STRETCHES // len(keys)
        sizes = torch.bincount(stretch, minlength=STRETCHES).to(keys.dtype)
        few = [part.new_zeros(len(sizes), part.shape[1]).index_add(0, stretch, part) for part in (keys, values)]
        return _Targets(few[0] / sizes[:, None], few[1] / sizes[:, None], sizes.log())

    def across(self, prompts: Tensor, tiles: Tensor, lengths: Sequence[int]) -> Tensor:
        """Let the same prompts (P, D) attend to the tiles of each bag; return (B, P, D)."""
        width = prompts.shape[-1]
        queries = self._project(prompts, 0)
        both = functional.linear(tiles, self.in_proj.weight[width:], self.in_proj.bias[width:])
        keys, values = (part.split(list(lengths)) for part in both.chunk(2, dim=-1))
        found = [self._attend(queries, k, v, None) for k, v in zip(keys, values, strict=True)]
        joined: Tensor = self.out_proj(torch.stack(found))
        return joined

    def weights(self, prompts: Tensor, tiles: Tensor) -> Tensor:
        """Return the attention of the prompts (P, D) over the tiles (N, D) of one bag, (P, N).

        Mean over the heads; rows sum to 1.
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
        found = functional.scaled_dot_product_attention(
            self._by_head(queries), self._by_head(keys), self._by_head(values), attn_mask=mask
        )
        return found[0].transpose(0, 1).flatten(1)

    def _by_head(self, vectors: Tensor) -> Tensor:
        return vectors.view(len(vectors), self.heads, HEAD_WIDTH).transpose(0, 1)[None]  # (1, H, n, 64)


def small_linear(layer: nn.Linear) -> None:
    """Start a layer near zero, as the published network does."""
    nn.init.trunc_normal_(layer.weight, std=0.02)
    nn.init.zeros_(layer.bias)
