"""Linear-cost self-attention by the Nystrom method (Nystromformer; Xiong et al., AAAI 2021, arXiv 2102.03902)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

HEADS = 8
ITERATIONS = 6
"""Iterations of the pseudo-inverse."""
KERNEL = 33
"""Kernel size of the convolution along the sequence, whose output is added to the attention, as published."""
DROPOUT = 0.1


class NystromAttention(nn.Module):
    """Multi-head Nystrom attention with 8 heads and D / 2 landmarks, which are means of segments of the sequence.

    n members of the sequence, D channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.landmarks = width // 2
        self.in_proj = nn.Linear(width, 3 * width, bias=False)
        self.out_proj = nn.Sequential(nn.Linear(width, width), nn.Dropout(DROPOUT))
        self.local = nn.Conv1d(HEADS, HEADS, KERNEL, padding=KERNEL // 2, groups=HEADS, bias=False)

    def forward(self, sequence: Tensor) -> Tensor:
        """Return the sequence (n, D) after self-attention."""
        queries, keys, values = (_by_head(part) for part in self.in_proj(sequence).chunk(3, dim=-1))  # (8, n, D / 8)
        attended = nystrom_attention(queries, keys, values, self.landmarks) + self._local(values)
        joined: Tensor = self.out_proj(attended.transpose(0, 1).flatten(1))
        return joined

    def _local(self, values: Tensor) -> Tensor:
        """Convolve the values along the sequence, with one kernel per head."""
        mixed: Tensor = self.local(values.permute(2, 0, 1))  # the channels of a head are the batch dimension
        return mixed.permute(1, 2, 0)


def nystrom_attention(queries: Tensor, keys: Tensor, values: Tensor, landmarks: int) -> Tensor:
    """Return an approximation of softmax attention, (H, n, d); exact if there are at least n landmarks.

    It is ``softmax(Q K~') pinv(softmax(Q~ K~')) softmax(Q~ K') V``, where the landmarks Q~ and K~ are
    segment means of the queries Q and keys K. All inputs are (H, n, d) for H heads of d channels.
    """
    queries = queries / math.sqrt(queries.shape[-1])
    landmark_queries, landmark_keys = segment_means(queries, landmarks), segment_means(keys, landmarks)
    to_landmarks = (queries @ landmark_keys.mT).softmax(dim=-1)
    among_landmarks = (landmark_queries @ landmark_keys.mT).softmax(dim=-1)
    from_landmarks = (landmark_queries @ keys.mT).softmax(dim=-1)
    return to_landmarks @ pseudo_inverse(among_landmarks) @ (from_landmarks @ values)


def segment_means(sequence: Tensor, count: int) -> Tensor:
    """Return the means of ``count`` segments of equal length of (H, n, d); the sequence itself if n <= count."""
    n = sequence.shape[1]
    if n <= count:
        return sequence
    segment = torch.arange(n, device=sequence.device) * count // n
    sums = sequence.new_zeros(len(sequence), count, sequence.shape[2]).index_add(1, segment, sequence)
    return sums / torch.bincount(segment, minlength=count)[:, None]


def pseudo_inverse(matrices: Tensor) -> Tensor:
    """Return the approximate Moore-Penrose inverses of (H, m, m), by the third-order iteration of equation 11."""
    identity = torch.eye(matrices.shape[-1], device=matrices.device)
    inverse: Tensor = matrices.mT / (matrices.abs().sum(dim=-1).amax() * matrices.abs().sum(dim=-2).amax())
    for _ in range(ITERATIONS):
        product = matrices @ inverse
        inverse = inverse @ (13 * identity - product @ (15 * identity - product @ (7 * identity - product))) / 4
    return inverse


def _by_head(vectors: Tensor) -> Tensor:
    return vectors.view(len(vectors), HEADS, -1).transpose(0, 1)
