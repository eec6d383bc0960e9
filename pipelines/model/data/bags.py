"""Bags of tile features: choose which tiles of a slide are used, and read only those."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from pipelines.core.errors import ArtifactError
from pipelines.core.feature_file import Bag, read_bag, read_header

RowIndices = NDArray[np.int64]
"""Row numbers of tiles in a feature file."""


@dataclass(frozen=True)
class BagFile:
    """The feature file of a slide, not yet read."""

    slide_id: str
    path: Path
    n_tiles: int


@dataclass(frozen=True)
class TileBag:
    """The tiles of one slide that enter the model.

    N tiles, C channels of the image encoder.
    """

    slide_id: str
    features: Tensor
    """(N, C), as stored (float16 or float32)."""
    corners: NDArray[np.int64]
    """(N, 2) x and y of the top-left corner, pixels at level 0."""
    tile_size_level0: int
    """Edge of a tile, pixels at level 0."""
    grid_position: Tensor
    """(N, 2) float32 x and y relative to the center of the bag, in tile edges."""
    file_position: Tensor
    """(N,) float32, 0 to 1: a tile's row in the feature file divided by the slide's number of tiles."""
    pad_position: float
    """The `file_position` that the published network gives to padding."""


def training_rows(n: int, k: int, rng: np.random.Generator) -> RowIndices:
    """Draw ``k`` of ``n`` rows, one from each of ``k`` strata of equal width, sorted.

    Every row can be drawn whatever the ratio, and no row is drawn twice.
    """
    edges = np.arange(k + 1) * n // k
    return rng.integers(edges[:-1], edges[1:])


def tiles_drawn(n_tiles: int, ratio: float, max_tiles: int) -> int:
    """Return how many of ``n_tiles`` enter a training step: a share of ``ratio``, between 1 and ``max_tiles``."""
    return max(1, min(math.ceil(n_tiles * ratio), max_tiles))


def even_rows(n: int, k: int) -> RowIndices:
    """Return ``k`` of ``n`` rows, the midpoints of ``k`` strata of equal width, sorted."""
    return ((2 * np.arange(k) + 1) * n) // (2 * k)


class BagReader:
    """Read bags on demand and cache whole bags in memory, up to ``cache_bytes``.

    Both methods raise an `ArtifactError` that names the file if features are NaN or infinite.
    """

    def __init__(self, *, cache_bytes: int = 2 << 30) -> None:
        self.cache_bytes = self._free_bytes = cache_bytes
        self._cache: dict[str, Bag] = {}

    def training(self, bag: BagFile, ratio: float, max_tiles: int, rng: np.random.Generator) -> TileBag:
        """Return a random sample of the tiles: a share of ``ratio``, between 1 and ``max_tiles`` tiles."""
        return self._bag(bag, training_rows(bag.n_tiles, tiles_drawn(bag.n_tiles, ratio, max_tiles), rng))

    def evaluation(self, bag: BagFile, max_tiles: int) -> TileBag:
        """Return all tiles, or ``max_tiles`` evenly spaced ones if there are more."""
        return self._bag(bag, even_rows(bag.n_tiles, min(bag.n_tiles, max_tiles)))

    def _bag(self, bag: BagFile, rows: RowIndices) -> TileBag:
        stored = self._cache.get(bag.slide_id) or self._read_into_cache(bag)
        if stored is None:
            stored = _read(bag.path, rows if len(rows) < bag.n_tiles else None)
            features, corners = stored.features, stored.coords
        else:
            features, corners = stored.features[rows], stored.coords[rows]
        positions = corners / stored.tile_size_level0
        return TileBag(
            slide_id=bag.slide_id,
            features=torch.from_numpy(features),
            corners=corners,
            tile_size_level0=stored.tile_size_level0,
            grid_position=torch.from_numpy((positions - positions.mean(axis=0)).astype(np.float32)),
            file_position=torch.from_numpy((rows / bag.n_tiles).astype(np.float32)),
            pad_position=len(rows) / bag.n_tiles,
        )

    def _read_into_cache(self, bag: BagFile) -> Bag | None:
        """Read the whole bag and cache it; return None if the cache has no room for it."""
        if self._free_bytes <= 0:
            return None
        header = read_header(bag.path)
        size = header.n_tiles * header.dim * 4
        if size > self._free_bytes:
            return None
        self._free_bytes -= size
        self._cache[bag.slide_id] = _read(bag.path)
        return self._cache[bag.slide_id]


def _read(path: Path, rows: RowIndices | None = None) -> Bag:
    bag = read_bag(path, rows)
    if not all_finite(bag.features):  # a single such tile would spoil the statistics of all slides
        raise ArtifactError(
            f"{path}: the features hold NaN or infinite values", hint="delete it and run `five embed` again"
        )
    return bag


def all_finite(features: NDArray[Any]) -> bool:
    """Return whether no feature is NaN or infinite; float16 is tested by its exponent, which is ten times faster."""
    if features.dtype == np.float16:
        exponents = features.view(np.uint16) & np.uint16(0x7C00)
        return not (exponents == 0x7C00).any()
    return bool(np.isfinite(features).all())


def feature_statistics(
    bags: Sequence[BagFile], reader: BagReader, *, max_tiles: int = 512, unit_length: bool = False
) -> tuple[Tensor, Tensor]:
    """Return the mean and standard deviation of each channel, (C,) float32 each.

    At most ``max_tiles`` evenly spaced tiles per slide are read. All slides have the same weight.
    The standard deviation of a constant channel is set to 1. With ``unit_length``, features are L2-normalized first.
    """
    means, squares = [], []
    for bag in bags:
        features = reader.evaluation(bag, max_tiles).features.double()
        if unit_length:
            features = functional.normalize(features, dim=1)
        means.append(features.mean(dim=0))
        squares.append(features.square().mean(dim=0))
    mean = torch.stack(means).mean(dim=0)
    variance = torch.stack(squares).mean(dim=0) - mean.square()
    std = variance.clamp(min=0).sqrt()
    return mean.float(), torch.where(std > 1e-6, std, torch.ones_like(std)).float()
