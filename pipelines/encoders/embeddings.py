"""Rules that take a feature vector from the output of a network.

B tiles per batch, S pixels per tile edge, T tokens, D channels. Calling a network with normalized
pixels (B, 3, S, S) returns its own pooled features (B, D). ``forward_features`` returns its tokens
(B, T, D); the first ``num_prefix_tokens`` of them are the class token and the registers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def _pooled(network: Any, pixels: Tensor) -> Tensor:
    pooled: Tensor = network(pixels)
    return pooled


def _class_token(network: Any, pixels: Tensor) -> Tensor:
    tokens: Tensor = network.forward_features(pixels)
    return tokens[:, 0]


def _class_token_and_mean(network: Any, pixels: Tensor) -> Tensor:
    tokens = network.forward_features(pixels)
    patches = tokens[:, network.num_prefix_tokens :]  # without the class and register tokens
    return torch.cat([tokens[:, 0], patches.mean(1)], dim=-1)  # (B, 2 D)


def _class_token_and_quarters(network: Any, pixels: Tensor) -> Tensor:
    """Concatenate the class token with the mean class token of the four quarters, each enlarged to the tile size."""
    size = pixels.shape[-1]
    enlarged = functional.interpolate(pixels.float(), size=2 * size, mode="bicubic").to(pixels.dtype)
    quarters = [enlarged[..., y : y + size, x : x + size] for y in (0, size) for x in (0, size)]
    mean = torch.stack([_class_token(network, quarter) for quarter in quarters]).mean(0)
    return torch.cat([_class_token(network, pixels), mean], dim=-1)  # (B, 2 D)


def _mean_of_map(network: Any, pixels: Tensor) -> Tensor:
    maps = network(pixels)  # one (B, D, H, W) per requested stage
    mean: Tensor = maps[-1].mean(dim=(2, 3))
    return mean


EMBEDDINGS: Mapping[str, Callable[[Any, Tensor], Tensor]] = {
    "pooled": _pooled,
    "cls": _class_token,
    "cls+mean": _class_token_and_mean,
    "cls+quarters": _class_token_and_quarters,
    "map": _mean_of_map,
    "projected": _pooled,
}
"""Embedding rules by name.

- ``pooled``: the network's own pooling
- ``cls``: the class token
- ``cls+mean``: the class token and the mean patch token
- ``cls+quarters``: the class token and the mean class token of the tile's quarters (MUSK's multiscale features)
- ``map``: the mean of the last feature map
- ``projected``: the network's own projection into the space shared with text (``hf:``)
"""
