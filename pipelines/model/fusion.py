"""The instance aggregator: tiles of a slide and prompts in, one bag embedding out (FiVE, CVPR 2024).

Bags of any length are packed one after another without padding: linear layers see all tiles of a
batch at once, attention runs bag by bag.

Attention among N tiles costs N times N. That of a bag longer than ``exact_up_to`` costs N times
1,024: keys and values are averaged over 1,024 stretches of the feature file, neighbours on the
slide, and each mean counts as often as it has members. It equals exact attention where the members
of a stretch are alike, and has the same weights, so that one model serves both. The attention of
prompts is exact: its cost is linear anyway.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines.core.settings.train import HEAD_WIDTH

STRETCHES = 1024
"""Stretches over which keys and values are averaged in attention of linear cost."""
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


class Attention(nn.Module):
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
        _small_linear(self.out_proj)

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


class PatchFusion(nn.Module):
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
        self.self_attention = Attention(width, exact_up_to=exact_up_to)
        self.self_mlp_norm = nn.LayerNorm(width)
        self.self_mlp = Mlp(width)
        self.tile_norm = nn.LayerNorm(width)
        self.prompt_norm = nn.LayerNorm(width)
        self.cross_attention = Attention(width)
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


def log_mean_exp(tiles: Tensor, sharpness: float) -> Tensor:
    """Return the smooth maximum of the tiles (N, D), (D,): the logarithm of the mean of exp(k x), over k.

    Sharpness k: towards 0 it is their mean, towards infinity their maximum.
    """
    return (torch.logsumexp(sharpness * tiles, dim=0) - math.log(len(tiles))) / sharpness


class Mlp(nn.Module):
    """Two linear layers with QuickGELU, x * sigmoid(1.702 x), between them.

    Computed as silu(1.702 x) / 1.702, the same function, with the factors inside the matrix
    products: fewer passes over (N, 4 D), and of it autograd keeps one tensor less.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)
        _small_linear(self.up)
        _small_linear(self.down)

    def forward(self, vectors: Tensor) -> Tensor:
        """Return ``vectors`` (..., D) transformed one by one."""
        rows = vectors.reshape(-1, vectors.shape[-1])
        hidden = functional.silu(torch.addmm(self.up.bias, rows, self.up.weight.T, beta=1.702, alpha=1.702))
        return torch.addmm(self.down.bias, hidden, self.down.weight.T, alpha=1 / 1.702).view_as(vectors)


def _small_linear(layer: nn.Linear) -> None:
    nn.init.trunc_normal_(layer.weight, std=0.02)
    nn.init.zeros_(layer.bias)


def in_blocks(layer: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """Return ``layer(rows)`` of a layer that treats rows (N, .) one by one; block by block without gradients."""
    if torch.is_grad_enabled() or len(rows) <= BLOCK:
        return layer(rows)
    return torch.cat([layer(block) for block in rows.split(BLOCK)])
