"""What a feature vector is: how it is taken from a network's output.

B tiles in a batch, S pixels the edge of a tile, T tokens, D channels. A network is called with normalised
pixels (B, 3, S, S) for its own pooled features (B, D); ``forward_features`` gives its tokens (B, T, D), of which
the first ``num_prefix_tokens`` are the class token and registers.
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
    tiles = tokens[:, network.num_prefix_tokens :]  # without the class and register tokens
    return torch.cat([tokens[:, 0], tiles.mean(1)], dim=-1)  # (B, 2 D)


def _class_token_and_quarters(network: Any, pixels: Tensor) -> Tensor:
    """Join the class token with the mean class token of the tile's quarters, each enlarged to a whole tile."""
    size = pixels.shape[-1]
    twice = functional.interpolate(pixels.float(), size=2 * size, mode="bicubic").to(pixels.dtype)
    quarters = [twice[..., y : y + size, x : x + size] for y in (0, size) for x in (0, size)]
    means = torch.stack([_class_token(network, quarter) for quarter in quarters]).mean(0)
    return torch.cat([_class_token(network, pixels), means], dim=-1)  # (B, 2 D)


def _mean_of_map(network: Any, pixels: Tensor) -> Tensor:
    maps = network(pixels)  # one (B, D, H, W) for each stage asked for
    mean: Tensor = maps[-1].mean(dim=(2, 3))
    return mean


EMBEDDINGS: Mapping[str, Callable[[Any, Tensor], Tensor]] = {
    "pooled": _pooled,
    "cls": _class_token,
    "cls+mean": _class_token_and_mean,
    "cls+quarters": _class_token_and_quarters,
    "map": _mean_of_map,
}
"""By name: the network's own pooling, its class token, that joined with the mean of the tile tokens or with the
class tokens of the tile's quarters (MUSK's multiscale features), or the mean of a feature map."""
