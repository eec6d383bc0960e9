"""Estimate what a training run needs: its parameters, and the memory of its tensors.

The memory of a step is measured, not derived from the network: steps on few tiles are computed while the peak tensor
memory is recorded. The peak occurs either while texts are encoded, whatever the number of tiles, or while bags are
encoded, on top of what is kept of the texts. The memory of bags grows linearly with their tiles, so it is extrapolated
from two sizes to the largest batch.

Only tensors are counted. The allocator takes more memory because it fragments: see docs/training.md.
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
from pipelines.model.data.bags import BagFile, BagReader, tiles_drawn
from pipelines.model.data.batches import Data
from pipelines.model.networks.bag_model import BagModel
from pipelines.model.training.objectives import Objective

FEW_TILES = 16
"""Number of tiles per slide in the step that measures the texts."""
BATCH_TILES = 4096
"""Number of tiles in the larger of the two batches from which the memory of bags is extrapolated."""
MB = 1e6


@dataclass(frozen=True)
class Footprint:
    """Size of a training run. Memory is in addition to that of the program itself."""

    trainable: int
    """Number of trainable parameters."""
    frozen: int
    """Number of frozen parameters."""
    state_mb: float
    """Memory of the weights, the moments of AdamW, and the weights of the best epoch."""
    step_mb: float
    """Peak memory of activations and gradients in the largest batch."""
    features_mb: float
    """Memory of the features that stay in memory."""


def footprint(model: BagModel, objective: Objective, data: Data, settings: TrainSettings) -> Footprint:
    """Return the size of training ``model`` on ``data``."""
    if settings.lr_text == 0:
        model.freeze_text()
    if settings.checkpoint_activations:
        model.checkpoint_activations()
    model.train()
    trainable = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    frozen = sum(weight.numel() for weight in model.parameters() if not weight.requires_grad)
    reader = data.reader
    slides = sorted(data.train, key=lambda slide: -slide.n_tiles)[: settings.batch_size]
    sizes = [tiles_drawn(slide.n_tiles, settings.tile_ratio, settings.max_tiles) for slide in slides]
    bags = [reader.training(slide, settings.tile_ratio, FEW_TILES, np.random.default_rng(0)) for slide in slides]
    with _Peak() as whole:
        loss = objective.loss(model, bags, np.random.default_rng(0))
        kept = whole.now
        loss.backward()
    few, many = (_bag_memory(model, slides, reader, settings, tiles) for tiles in (BATCH_TILES // 2, BATCH_TILES))
    total = max(sizes) if settings.checkpoint_activations else sum(sizes)
    per_tile = (many.bytes - few.bytes) / max(1, many.tiles - few.tiles)
    bag_bytes = many.bytes + per_tile * (total - many.tiles)
    features = sum(slide.n_tiles for slide in [*data.train, *data.val]) * model.spec.feature_dim * 4
    return Footprint(
        trainable=trainable,
        frozen=frozen,
        state_mb=(4 * trainable + frozen) * 4 / MB,
        step_mb=max(whole.peak, kept + bag_bytes) / MB,
        features_mb=min(features, reader.cache_bytes) / 4 * bags[0].features.element_size() / MB,
    )


@dataclass(frozen=True)
class _BagMemory:
    tiles: int
    """Number of tiles whose activations are in memory at the same time."""
    bytes: int
    """Peak memory of tensors."""


def _bag_memory(
    model: BagModel, slides: Sequence[BagFile], reader: BagReader, settings: TrainSettings, tiles: int
) -> _BagMemory:
    """Measure the memory of encoding ``slides`` with about ``tiles`` tiles in total, gradients included."""
    max_tiles = max(1, tiles // len(slides))
    bags = [reader.training(slide, settings.tile_ratio, max_tiles, np.random.default_rng(0)) for slide in slides]
    with torch.no_grad():
        prompts = model.encode_prompts()
    model.zero_grad(set_to_none=True)
    with _Peak() as memory:
        model.encode_bags(bags, prompts).sum().backward()
    sizes = [len(bag.features) for bag in bags]
    return _BagMemory(max(sizes) if settings.checkpoint_activations else sum(sizes), memory.peak)


class _Peak(TorchDispatchMode):
    """Records the peak number of bytes in storages that are made within the block."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = self.now = 0
        self._seen: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {_key(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and _key(leaf) not in given and _key(leaf) not in self._seen:
                self._add(leaf.untyped_storage())
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        self._seen[key] = size
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._drop, key)

    def _drop(self, key: int) -> None:
        self.now -= self._seen.pop(key)


def _key(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
