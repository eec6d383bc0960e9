"""Cosine similarities of tiles and texts."""

from __future__ import annotations

import torch
from torch import Tensor

ROWS = 512
"""Tiles per step on a CPU. Their features stay in its cache while they are converted, measured and multiplied."""


def cosine_similarities(features: Tensor, texts: Tensor) -> Tensor:
    """Return the cosine similarity of each text to each tile, (M, N) float32; 0 for a tile whose features are 0.

    N tiles, M texts, D channels. The features are read once, and no normalized copy is made.

    Parameters
    ----------
    features
        (N, D) as stored, float16 or float32, of any length.
    texts
        (M, D) float32, L2-normalized, on the device that computes.
    """
    rows = ROWS if texts.device.type == "cpu" else max(1, len(features))
    similarities = torch.empty((len(texts), len(features)), dtype=torch.float32, device=texts.device)
    for start in range(0, len(features), rows):
        block = features[start : start + rows].to(texts.device).float()
        lengths = torch.linalg.vector_norm(block, dim=1).clamp(min=torch.finfo(torch.float32).tiny)
        similarities[:, start : start + rows] = texts @ block.T / lengths
    return similarities
