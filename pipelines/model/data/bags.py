"""Bags of tile features: which tiles of a slide are used, and reading just those."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipelines.core.errors import ArtifactError
from pipelines.core.feature_file import Bag, feature_shape, read_bag

RowIndices = NDArray[np.int64]


@dataclass(frozen=True)
class BagFile:
    """A slide's feature file, known but not read."""

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
    places: Tensor
    """(N, 2) float32 x and y in tile edges, from the middle of the bag."""
    file_position: Tensor
    """(N,) float32, a tile's row in the feature file over the number of the slide's tiles."""
    pad_position: float
    """The same for the padding of the published network."""


def training_rows(n: int, k: int, rng: np.random.Generator) -> RowIndices:
    """Draw ``k`` of ``n`` rows, one from each of ``k`` strata of equal width, sorted.

    The strata cover all rows whatever the ratio, and no row is drawn twice.
    """
    edges = np.arange(k + 1) * n // k
    return rng.integers(edges[:-1], edges[1:])


def tiles_drawn(n_tiles: int, ratio: float, most: int) -> int:
    """Return how many of ``n_tiles`` enter a training step: ``ratio`` of them, at least 1, at most ``most``."""
    return max(1, min(math.ceil(n_tiles * ratio), most))


def even_rows(n: int, k: int) -> RowIndices:
    """Return the ``k`` of ``n`` rows in the middle of strata of equal width, sorted."""
    return ((2 * np.arange(k) + 1) * n) // (2 * k)


class BagReader:
    """Reads bags as they are asked for, and keeps those that fit into ``cache_bytes`` of memory.

    A bag with features that are not numbers is refused by an `ArtifactError` that names its file.
    """

    def __init__(self, *, cache_bytes: int = 2 << 30) -> None:
        self.cache_bytes = self._left = cache_bytes
        self._kept: dict[str, Bag] = {}

    def training(self, bag: BagFile, ratio: float, most: int, rng: np.random.Generator) -> TileBag:
        """Return ``ratio`` of the tiles, at least 1 and at most ``most``, drawn anew."""
        return self._bag(bag, training_rows(bag.n_tiles, tiles_drawn(bag.n_tiles, ratio, most), rng))

    def evaluation(self, bag: BagFile, most: int) -> TileBag:
        """Return all tiles, or ``most`` spread evenly."""
        return self._bag(bag, even_rows(bag.n_tiles, min(bag.n_tiles, most)))

    def _bag(self, bag: BagFile, rows: RowIndices) -> TileBag:
        whole = self._kept.get(bag.slide_id) or self._keep(bag)
        if whole is None:
            part = _read(bag.path, rows if len(rows) < bag.n_tiles else None)
            features, corners = part.features, part.coords
        else:
            part = whole
            features, corners = part.features[rows], part.coords[rows]
        places = corners / part.tile_size_level0
        return TileBag(
            slide_id=bag.slide_id,
            features=torch.from_numpy(features),
            corners=corners,
            tile_size_level0=part.tile_size_level0,
            places=torch.from_numpy((places - places.mean(axis=0)).astype(np.float32)),
            file_position=torch.from_numpy((rows / bag.n_tiles).astype(np.float32)),
            pad_position=len(rows) / bag.n_tiles,
        )

    def _keep(self, bag: BagFile) -> Bag | None:
        """Read a whole bag into memory if there is room."""
        if self._left <= 0:
            return None
        n_tiles, dim = feature_shape(bag.path)
        size = n_tiles * dim * 4
        if size > self._left:
            return None
        self._left -= size
        self._kept[bag.slide_id] = _read(bag.path)
        return self._kept[bag.slide_id]


def _read(path: Path, rows: RowIndices | None = None) -> Bag:
    bag = read_bag(path, rows)
    if not np.isfinite(bag.features).all():  # one such tile would spoil the statistics of all slides
        raise ArtifactError(
            f"{path}: the features hold NaN or infinite values", hint="delete it and run `five embed` again"
        )
    return bag


def feature_statistics(bags: Sequence[BagFile], reader: BagReader, *, most: int = 512) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each channel over ``most`` tiles a slide, (C,) float32 each.

    Every slide weighs the same. A constant channel gets the deviation 1.
    """
    means, squares = [], []
    for bag in bags:
        features = reader.evaluation(bag, most).features.double()
        means.append(features.mean(dim=0))
        squares.append(features.square().mean(dim=0))
    mean = torch.stack(means).mean(dim=0)
    variance = torch.stack(squares).mean(dim=0) - mean.square()
    deviation = variance.clamp(min=0).sqrt()
    return mean.float(), torch.where(deviation > 1e-6, deviation, torch.ones_like(deviation)).float()
