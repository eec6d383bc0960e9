"""Position encodings: the position of a tile as a vector that is added to its features before attention."""

from __future__ import annotations

import math

import torch
from torch import Tensor

MIN_WAVELENGTH, MAX_WAVELENGTH = 4.0, 512.0
"""Range of wavelengths of the grid encoding, in tile edges: from a few tiles to more than a whole slide.

A tile of 224 pixels at 0.5 microns per pixel is 0.11 mm wide, so the range is 0.45 mm to 57 mm.
"""


def grid_encoding(grid_position: Tensor, width: int) -> Tensor:
    """Return sines and cosines of the tile positions x and y, (N, width) float32.

    Parameters
    ----------
    grid_position
        (N, 2) x and y of the tiles, in tile edges.
    width
        Number of channels; a quarter each for sin x, cos x, sin y and cos y.
    """
    steps = torch.linspace(0, 1, width // 4, device=grid_position.device)
    wavelengths = MIN_WAVELENGTH * (MAX_WAVELENGTH / MIN_WAVELENGTH) ** steps
    angles = grid_position.float()[:, :, None] * (2 * math.pi / wavelengths)  # (N, 2, width / 4)
    return torch.cat([angles.sin(), angles.cos()], dim=2).flatten(1)


def sequence_encoding(file_position: Tensor, width: int) -> Tensor:
    """Return the encoding of the published network, (N, width) float32.

    Even channel i is sin(p / 10000^(2i / width)), odd channel i is cos(p / 10000^((2i - 1) / width)).
    Because p is below 1, most channels are almost constant. The encoding exists only to reproduce
    the released code.

    Parameters
    ----------
    file_position
        (N,) p, 0 to 1: the tile's row in the feature file divided by the slide's number of tiles.
    """
    channel = torch.arange(width, device=file_position.device)
    odd = channel % 2
    angles = file_position.float()[:, None] / 10000.0 ** ((2 * channel - odd) / width)
    return torch.where(odd.bool(), angles.cos(), angles.sin())
