"""An encoder of 12 channels without weights: mean color of each quarter of a tile. Texts name colors."""

from pathlib import Path

import torch
from torch.nn import functional


class TileEncoder(torch.nn.Module):
    width = 12
    tile_size = None
    mpp = None
    input_size = 32
    mean = (0.0, 0.0, 0.0)
    std = (1.0, 1.0, 1.0)

    def __init__(self, weights: Path | None) -> None:
        super().__init__()

    def encode(self, batch: torch.Tensor) -> torch.Tensor:
        return functional.adaptive_avg_pool2d(batch, 2).flatten(1)


class TextEncoder:
    context_length, logit_scale = 9, 10.0

    def __init__(self, weights: Path | None) -> None:
        pass

    def n_tokens(self, texts: list[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    def encode(self, texts: list[str]) -> torch.Tensor:
        colors = torch.tensor([[text.count(color) for color in ("red", "green", "blue")] for text in texts])
        return colors.float().repeat_interleave(4, dim=1)
