"""Weights of the tiles of a slide, from their similarities to texts.

- ``topk``: the mean over the k most similar tiles, for each text by itself (MI-Zero, CVPR 2023, arXiv 2306.07831).
- ``mean``: the mean over the tiles.
- ``attention``: the mean weighted by a softmax over the tiles of similarity / temperature.

With texts of other tissue, only tiles count that are more similar to one of the texts than to all of those. So a few
tiles that show a class are not outvoted by the rest of the slide, and ``topk`` takes a larger share of them.
`tests/benchmarks/zero_shot_quality.py` has the measurements.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.core.settings.zero_shot import ZeroShotSettings

TOP_SHARE, TOP_SHARE_OF_PASSING = 0.02, 0.3
"""Default share of ``topk``: of all tiles, and of the tiles that count with texts of other tissue."""

Scores = NDArray[np.floating[Any]]


def tile_weights(similarities: Scores, other: Scores, settings: ZeroShotSettings, temperature: float) -> Scores:
    """Return the weight of each tile in the score of each text, (K, N) of the type of ``similarities``.

    N tiles, K texts that are alternatives, such as classes. Weights are at least 0; rows sum to 1.

    Parameters
    ----------
    similarities
        (K, N) cosine similarities of the tiles to the texts; N is at least 1.
    other
        (M, N) cosine similarities to M texts of other tissue; M may be 0.
    """
    if len(other) == 0:
        return _weights(similarities, settings, temperature, TOP_SHARE)
    evidence = similarities.max(axis=0) - other.max(axis=0)
    passing = passing_tiles(evidence, settings.top_min)
    weights = np.zeros_like(similarities)
    weights[:, passing] = _weights(similarities[:, passing], settings, temperature, TOP_SHARE_OF_PASSING)
    return weights


def passing_tiles(evidence: Scores, at_least: int) -> NDArray[np.bool_]:
    """Return which tiles have ``evidence`` (N,) above 0; if too few have, those with the most evidence, and ties."""
    place = max(0, len(evidence) - at_least)
    passing: NDArray[np.bool_] = (evidence > 0) | (evidence >= np.partition(evidence, place)[place])
    return passing


def _weights(similarities: Scores, settings: ZeroShotSettings, temperature: float, default_share: float) -> Scores:
    n_tiles = similarities.shape[1]
    if settings.pooling == "mean":
        return np.full_like(similarities, 1 / n_tiles)
    if settings.pooling == "topk":
        share = default_share if settings.top_share is None else settings.top_share
        return top_weights(similarities, top_count(n_tiles, share, settings.top_min))
    values = np.exp((similarities - similarities.max(axis=1, keepdims=True)) / temperature)
    weights: Scores = values / values.sum(axis=1, keepdims=True)
    return weights


def top_count(n_tiles: int, share: float, at_least: int) -> int:
    """Return how many of ``n_tiles`` count: the ``share`` rounded up, at least ``at_least``, at most all."""
    return min(n_tiles, max(at_least, math.ceil(n_tiles * share)))


def top_weights(scores: Scores, k: int) -> Scores:
    """Return 1/k for the ``k`` highest of each row of ``scores`` (K, N), 0 for the others.

    Tiles that tie for the last places share these evenly, so that the order of the tiles does not matter.
    """
    place = scores.shape[1] - k
    lowest = np.partition(scores, place, axis=1)[:, place, None]
    above, tied = scores > lowest, scores == lowest
    left = k - above.sum(axis=1, keepdims=True)
    weights: Scores = above * scores.dtype.type(1 / k)
    weights[tied] = np.broadcast_to(left / k / tied.sum(axis=1, keepdims=True), scores.shape)[tied]
    return weights
