"""What a training needs: parameters, and memory as tensors will use it.

The memory of a step is not a formula of the network: the loss of the largest batch and its gradients are
computed twice, with some of the tiles and with twice as many, the largest memory of all tensors alive at a
time is noted, and the line through both is followed to all tiles. It holds for any model whose memory grows
linearly with its tiles; a batch of few tiles is computed whole, so that nothing is guessed.

Counted are tensors. An allocator takes more, since it keeps freed memory in pieces: see docs/training.md.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pipelines.core.settings.train import TrainSettings
from pipelines.model.bag_model import BagModel
from pipelines.model.bags import BagFile, BagReader, tiles_drawn
from pipelines.model.batches import Data
from pipelines.model.objectives import Objective

MOST_TILES = 4096
"""Tiles of the larger of the two batches that are computed: enough to outweigh the texts, a few seconds' work."""
MB = 1e6


@dataclass(frozen=True)
class Footprint:
    """Size of a training; memory comes beside that of the program itself."""

    trainable: int
    """Parameters that learn."""
    frozen: int
    """Parameters that do not."""
    state_mb: float
    """Weights, the moments of AdamW, and the copy of the best epoch."""
    step_mb: float
    """Most that activations and gradients of the largest batch take at a time."""
    features_mb: float
    """Features that stay in memory."""


def footprint(model: BagModel, objective: Objective, data: Data, settings: TrainSettings) -> Footprint:
    """Return what training ``model`` on ``data`` needs."""
    if settings.lr_text == 0:
        model.freeze_text()
    if settings.checkpoint_activations:
        model.checkpoint_activations()
    model.train()
    trainable = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    frozen = sum(weight.numel() for weight in model.parameters() if not weight.requires_grad)
    slides = sorted(data.train, key=lambda slide: -slide.n_tiles)[: settings.batch_size]
    sizes = [tiles_drawn(slide.n_tiles, settings.tile_ratio, settings.max_tiles) for slide in slides]
    most = min(max(sizes), max(2, MOST_TILES // len(slides)))
    few, many = (_step(model, objective, slides, data.reader, settings, tiles) for tiles in (most // 2, most))
    total = max(sizes) if settings.checkpoint_activations else sum(sizes)
    per_tile = (many.bytes - few.bytes) / max(1, many.tiles - few.tiles)
    features = sum(slide.n_tiles for slide in [*data.train, *data.val]) * model.spec.feature_dim * 4
    return Footprint(
        trainable=trainable,
        frozen=frozen,
        state_mb=(4 * trainable + frozen) * 4 / MB,
        step_mb=(many.bytes + per_tile * (total - many.tiles)) / MB,
        features_mb=min(features, data.reader.cache_bytes) / 4 * many.bytes_per_feature / MB,
    )


@dataclass(frozen=True)
class _Step:
    tiles: int
    """Of the slides that are in memory at a time."""
    bytes: int
    """Most that tensors take at a time."""
    bytes_per_feature: int
    """As the feature files hold them."""


def _step(
    model: BagModel,
    objective: Objective,
    slides: Sequence[BagFile],
    reader: BagReader,
    settings: TrainSettings,
    most: int,
) -> _Step:
    """Return the memory of the loss of ``slides`` with at most ``most`` tiles each, and of its gradients."""
    bags = [reader.training(slide, settings.tile_ratio, max(1, most), np.random.default_rng(0)) for slide in slides]
    torch.manual_seed(0)
    with _Peak() as memory:
        objective.loss(model, bags, np.random.default_rng(0)).backward()
    model.zero_grad(set_to_none=True)
    sizes = [len(bag.features) for bag in bags]
    tiles = max(sizes) if settings.checkpoint_activations else sum(sizes)
    return _Step(tiles, memory.peak, bags[0].features.element_size())


class _Peak(TorchDispatchMode):
    """Notes the most bytes that storages made within the block take at a time."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = self._now = 0
        self._seen: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {_key(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        found = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(found):
            if isinstance(leaf, Tensor) and _key(leaf) not in given and _key(leaf) not in self._seen:
                self._add(leaf.untyped_storage())
        return found

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        self._seen[key] = size
        self._now += size
        self.peak = max(self.peak, self._now)
        weakref.finalize(storage, self._drop, key)

    def _drop(self, key: int) -> None:
        self._now -= self._seen.pop(key)


def _key(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
