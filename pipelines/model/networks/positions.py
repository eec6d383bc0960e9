"""Where a tile lies, as a vector that is added to its features before attention."""

from __future__ import annotations

import math

import torch
from torch import Tensor

SHORTEST, LONGEST = 4.0, 512.0
"""Wavelengths of the grid encoding in tile edges: from a few neighbouring tiles to more than a whole slide
(a tile of 224 pixels at 0.5 microns per pixel is 0.11 mm wide, so 0.45 mm to 57 mm)."""


def grid_encoding(places: Tensor, width: int) -> Tensor:
    """Return sines and cosines of x and y, (N, width) float32.

    Parameters
    ----------
    places
        (N, 2) x and y of the tiles in tile edges.
    width
        Channels; a quarter each for sin x, cos x, sin y, cos y.
    """
    steps = torch.linspace(0, 1, width // 4, device=places.device)
    wavelengths = SHORTEST * (LONGEST / SHORTEST) ** steps
    angles = places.float()[:, :, None] * (2 * math.pi / wavelengths)  # (N, 2, width / 4)
    return torch.cat([angles.sin(), angles.cos()], dim=2).flatten(1)


def sequence_encoding(progress: Tensor, width: int) -> Tensor:
    """Return the encoding of the published network, (N, width) float32.

    Even channel i is sin(p / 10000^(2i / width)), odd channel i is cos(p / 10000^((2i - 1) / width)).
    As p is below 1 hardly any channel turns: kept to reproduce the release, not to be useful.

    Parameters
    ----------
    progress
        (N,) p, the tile's row in the feature file over the number of the slide's tiles.
    """
    channel = torch.arange(width, device=progress.device)
    odd = channel % 2
    angles = progress.float()[:, None] / 10000.0 ** ((2 * channel - odd) / width)
    return torch.where(odd.bool(), angles.cos(), angles.sin())
