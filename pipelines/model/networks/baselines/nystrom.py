"""Self-attention of linear cost by the Nystrom method, Xiong et al., AAAI 2021 (arXiv 2102.03902)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

HEADS = 8
ROUNDS = 6
"""Rounds of the iteration for the pseudo-inverse."""
KERNEL = 33
"""Length of the convolution over the sequence that is added to the values, as published."""
DROPOUT = 0.1


class NystromAttention(nn.Module):
    """Eight heads; half as many landmarks as channels, each the mean of a stretch of the sequence."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.landmarks = width // 2
        self.in_proj = nn.Linear(width, 3 * width, bias=False)
        self.out_proj = nn.Sequential(nn.Linear(width, width), nn.Dropout(DROPOUT))
        self.local = nn.Conv1d(HEADS, HEADS, KERNEL, padding=KERNEL // 2, groups=HEADS, bias=False)

    def forward(self, sequence: Tensor) -> Tensor:
        """Return the sequence (n, D) after attention among its members."""
        queries, keys, values = (_by_head(part) for part in self.in_proj(sequence).chunk(3, dim=-1))  # (8, n, D / 8)
        found = nystrom_attention(queries, keys, values, self.landmarks) + self._local(values)
        joined: Tensor = self.out_proj(found.transpose(0, 1).flatten(1))
        return joined

    def _local(self, values: Tensor) -> Tensor:
        """Convolve along the sequence, with one kernel for all channels of a head."""
        mixed: Tensor = self.local(values.permute(2, 0, 1))  # channels of a head as the batch
        return mixed.permute(1, 2, 0)


def nystrom_attention(queries: Tensor, keys: Tensor, values: Tensor, landmarks: int) -> Tensor:
    """Return an approximation of softmax attention, (H, n, d); exact where there is a landmark for each member.

    ``softmax(Q K~') pinv(softmax(Q~ K~')) softmax(Q~ K') V`` with means of stretches Q~ and K~.
    """
    queries = queries / math.sqrt(queries.shape[-1])
    few_queries, few_keys = stretch_means(queries, landmarks), stretch_means(keys, landmarks)
    to_few = (queries @ few_keys.mT).softmax(dim=-1)
    among_few = (few_queries @ few_keys.mT).softmax(dim=-1)
    from_few = (few_queries @ keys.mT).softmax(dim=-1)
    return to_few @ pseudo_inverse(among_few) @ (from_few @ values)


def stretch_means(sequence: Tensor, count: int) -> Tensor:
    """Return the means of ``count`` stretches of like length of (H, n, d), or the sequence if it is no longer."""
    n = sequence.shape[1]
    if n <= count:
        return sequence
    owner = torch.arange(n, device=sequence.device) * count // n
    sums = sequence.new_zeros(len(sequence), count, sequence.shape[2]).index_add(1, owner, sequence)
    return sums / torch.bincount(owner, minlength=count)[:, None]


def pseudo_inverse(matrices: Tensor) -> Tensor:
    """Return the Moore-Penrose inverses of (H, m, m) by the paper's iteration of third order (equation 11)."""
    one = torch.eye(matrices.shape[-1], device=matrices.device)
    found: Tensor = matrices.mT / (matrices.abs().sum(dim=-1).amax() * matrices.abs().sum(dim=-2).amax())
    for _ in range(ROUNDS):
        product = matrices @ found
        found = found @ (13 * one - product @ (15 * one - product @ (7 * one - product))) / 4
    return found


def _by_head(vectors: Tensor) -> Tensor:
    return vectors.view(len(vectors), HEADS, -1).transpose(0, 1)
