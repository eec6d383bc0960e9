"""Weights of the tiles of a slide, from their similarities to texts.

- ``topk``: the mean over the k most similar tiles, for each text by itself (MI-Zero, CVPR 2023, arXiv 2306.07831).
- ``mean``: the mean over all tiles.
- ``attention``: the mean weighted by a softmax over the tiles of similarity / temperature.

With texts of other tissue, the evidence of a tile takes the place of its similarities: its similarity to the best text,
less that to the best text of other tissue. The weights are then the same for all texts. ``topk`` and ``attention``
choose and weigh tiles by their evidence, and ``mean`` weighs them by the sigmoid of evidence / temperature. So a few
tiles that show a class are not outvoted by tiles of other tissue.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.core.settings.zero_shot import ZeroShotSettings

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
    gated = len(other) > 0
    evidence = similarities
    if gated:
        evidence = similarities.max(axis=0, keepdims=True) - other.max(axis=0, keepdims=True)  # (1, N)
    if settings.pooling == "topk":
        weights = top_weights(evidence, top_count(evidence.shape[1], settings))
    elif settings.pooling == "attention":
        weights = _shares(evidence / temperature)
    elif gated:
        weights = _shares(-np.logaddexp(0, -evidence / temperature))  # logarithm of the sigmoid
    else:
        weights = np.full_like(similarities, 1 / similarities.shape[1])
    return np.broadcast_to(weights, similarities.shape)


def top_count(n_tiles: int, settings: ZeroShotSettings) -> int:
    """Return how many of ``n_tiles`` count: a share of ``top_share``, at least ``top_min``, at most all."""
    return min(n_tiles, max(settings.top_min, math.ceil(n_tiles * settings.top_share)))


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


def _shares(logarithms: Scores) -> Scores:
    """Return the softmax over the tiles, in each row."""
    values = np.exp(logarithms - logarithms.max(axis=1, keepdims=True))
    weights: Scores = values / values.sum(axis=1, keepdims=True)
    return weights
