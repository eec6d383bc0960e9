"""An encoder for ``five embed`` without weights: stain amounts and classical texture, 170 channels.

five embed tiles -o features --encoder texture_encoder.py

It is not trained, so it shows what a trained encoder adds. A tile is separated into hematoxylin and eosin (Ruifrok and
Johnston 2001) and halved three times. At each of the four sizes, each stain is described by

- mean, spread and skewness (the color moments of Stricker and Orengo 1995) of four maps: stain amount, strength of
  lines and edges, dominance of one direction (Gabor filters of 4 pixels), and dark spots;
- square roots of the shares of the 10 rotation-invariant uniform binary patterns of 8 points at radius 1 (Ojala et al.
  2002).

Rotating or mirroring a tile changes nothing. Lengths are in pixels: compare only tiles of one resolution.
"""

import math
from pathlib import Path

import torch
from torch.nn import functional

STAINS = ((0.65, 0.70, 0.29), (0.07, 0.99, 0.11))  # optical density of red, green, blue per unit of each stain
LEVELS = 4  # image sizes, each half of the previous one
DIRECTIONS, WAVELENGTH, REACH = 4, 4, 4  # Gabor filters: number of directions, then pixels
POINTS, RADIUS = 8, 1  # circle of the binary patterns
# Tolerance for rounding when equal amounts are compared; one gray level is a density of at least 4e-3.
NO_DARKER = -1e-3


class TileEncoder(torch.nn.Module):
    """Stain amounts and texture: 170 features per tile."""

    width = len(STAINS) * (1 + LEVELS * (4 * 3 - 1 + POINTS + 2))
    tile_size = None  # any size and resolution: nothing was trained
    mpp = None
    input_size = 224
    mean = (0.0, 0.0, 0.0)  # pixels stay as they are, 0 to 1
    std = (1.0, 1.0, 1.0)

    def __init__(self, weights: Path | None) -> None:
        super().__init__()
        if weights is not None:
            raise ValueError("there are no weights to load: leave --weights out")
        self.register_buffer("unmix", torch.linalg.pinv(torch.tensor(STAINS)))  # (3, 2)
        self.register_buffer("filters", _filters())
        self.register_buffer("circle", _circle())

    def encode(self, batch: torch.Tensor) -> torch.Tensor:
        """Return features (B, width) of pixels (B, 3, 224, 224). Always float32, because binary patterns need it."""
        with torch.autocast(batch.device.type, enabled=False):
            density = -torch.log((255 * batch.float() + 1) / 256)
            amounts = torch.einsum("bcyx,cs->bsyx", density, self.unmix)
            features = [amounts.mean(dim=(2, 3))]
            for level in range(LEVELS):
                amounts = functional.avg_pool2d(amounts, 2) if level else amounts
                stains = amounts.flatten(0, 1).unsqueeze(1)  # (2 B, 1, S, S)
                descriptors = torch.cat([self._moments(stains), self._patterns(stains)], dim=1)
                features.append(descriptors.view(len(batch), -1))
            return torch.cat(features, dim=1)

    def _moments(self, stains: torch.Tensor) -> torch.Tensor:
        """Return mean, deviation and cube root of the third moment of four maps, without the first mean, (2 B, 11)."""
        even, odd, spots = functional.conv2d(stains, self.filters).split([DIRECTIONS, DIRECTIONS, 1], dim=1)
        strength = torch.hypot(even, odd)
        dominance = strength.amax(dim=1) - strength.amin(dim=1)
        moments = []
        for maps in (stains[:, 0], strength.mean(dim=1), dominance, spots[:, 0].relu()):
            values = maps.flatten(1)
            mean = values.mean(dim=1, keepdim=True)
            square, third = ((values - mean).pow(power).mean(dim=1) for power in (2, 3))
            moments += [mean[:, 0], square.sqrt(), third.sign() * third.abs().pow(1 / 3)]
        return torch.stack(moments[1:], dim=1)  # halving an image does not change the mean amount

    def _patterns(self, stains: torch.Tensor) -> torch.Tensor:
        """Return square roots of the shares of the binary patterns, (2 B, 10); the last: not uniform."""
        above = functional.conv2d(stains, self.circle) >= NO_DARKER  # (2 B, 8, s, s)
        changes = (above != above.roll(1, dims=1)).sum(dim=1, dtype=torch.uint8)
        pattern = torch.where(changes <= 2, above.sum(dim=1, dtype=torch.uint8), POINTS + 1).flatten(1)
        first = (POINTS + 2) * torch.arange(len(stains), device=stains.device)[:, None]
        counts = torch.bincount((first + pattern).flatten(), minlength=(POINTS + 2) * len(stains))
        return (counts.view(len(stains), -1) / pattern.shape[1]).sqrt()


def _filters() -> torch.Tensor:
    """Return kernels (9, 1, 9, 9) that give 0 on uniform areas: even Gabor, odd Gabor, and one for spots."""
    y, x = torch.meshgrid(*[torch.arange(-REACH, REACH + 1.0)] * 2, indexing="ij")
    angles = (math.pi / DIRECTIONS * torch.arange(DIRECTIONS)).view(-1, 1, 1)
    phase = 2 * math.pi / WAVELENGTH * (x * angles.cos() + y * angles.sin())

    def window(sigma: float) -> torch.Tensor:
        weights = torch.exp(-(x**2 + y**2) / (2 * sigma**2))
        return weights / weights.sum()

    wide = window(WAVELENGTH / 2)
    even = wide * phase.cos()
    even -= wide * even.sum(dim=(1, 2), keepdim=True)
    spots = (window(WAVELENGTH / 4) - wide)[None]
    return torch.cat([even, wide * phase.sin(), spots]).unsqueeze(1)


def _circle() -> torch.Tensor:
    """Return kernels (8, 1, 3, 3): the value on the circle, interpolated bilinearly, minus the value of the center."""
    angles = 2 * math.pi / POINTS * torch.arange(POINTS)[:, None]
    steps = torch.arange(-RADIUS, RADIUS + 1.0)
    across = (1 - (RADIUS * angles.cos() - steps).abs()).relu()  # (8, 3)
    down = (1 - (RADIUS * angles.sin() - steps).abs()).relu()
    kernels = down[:, :, None] * across[:, None, :]
    kernels[:, RADIUS, RADIUS] -= 1
    return kernels.unsqueeze(1)
