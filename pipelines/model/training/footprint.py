"""What a training needs: parameters, and memory as tensors will use it.

The memory of a step is not a formula of the network: steps on few tiles are computed, and the most bytes that
tensors take at a time are noted. It is highest either while texts are encoded, however many tiles there are, or
while bags are, on top of what is kept of the texts. What bags take grows linearly with their tiles: a line
through two sizes is followed to the largest batch.

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
from pipelines.model.data.bags import BagFile, BagReader, tiles_drawn
from pipelines.model.data.batches import Data
from pipelines.model.networks.bag_model import BagModel
from pipelines.model.training.objectives import Objective

FEW_TILES = 16
"""Tiles of a slide where only texts are to be seen."""
BATCH_TILES = 4096
"""Tiles of the larger of the two batches that the line goes through."""
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
    reader = data.reader
    slides = sorted(data.train, key=lambda slide: -slide.n_tiles)[: settings.batch_size]
    sizes = [tiles_drawn(slide.n_tiles, settings.tile_ratio, settings.max_tiles) for slide in slides]
    bags = [reader.training(slide, settings.tile_ratio, FEW_TILES, np.random.default_rng(0)) for slide in slides]
    with _Peak() as whole:
        loss = objective.loss(model, bags, np.random.default_rng(0))
        kept = whole.now
        loss.backward()
    few, many = (_of_bags(model, slides, reader, settings, share) for share in (BATCH_TILES // 2, BATCH_TILES))
    total = max(sizes) if settings.checkpoint_activations else sum(sizes)
    per_tile = (many.bytes - few.bytes) / max(1, many.tiles - few.tiles)
    of_bags = many.bytes + per_tile * (total - many.tiles)
    features = sum(slide.n_tiles for slide in [*data.train, *data.val]) * model.spec.feature_dim * 4
    return Footprint(
        trainable=trainable,
        frozen=frozen,
        state_mb=(4 * trainable + frozen) * 4 / MB,
        step_mb=max(whole.peak, kept + of_bags) / MB,
        features_mb=min(features, reader.cache_bytes) / 4 * bags[0].features.element_size() / MB,
    )


@dataclass(frozen=True)
class _Used:
    tiles: int
    """Of the slides whose activations are in memory at a time."""
    bytes: int
    """Most that tensors take at a time."""


def _of_bags(
    model: BagModel, slides: Sequence[BagFile], reader: BagReader, settings: TrainSettings, tiles: int
) -> _Used:
    """Return what encoding ``slides``, of about ``tiles`` tiles together, and its gradients take."""
    most = max(1, tiles // len(slides))
    bags = [reader.training(slide, settings.tile_ratio, most, np.random.default_rng(0)) for slide in slides]
    with torch.no_grad():
        prompts = model.encode_prompts()
    model.zero_grad(set_to_none=True)
    with _Peak() as memory:
        model.encode_bags(bags, prompts).sum().backward()
    sizes = [len(bag.features) for bag in bags]
    return _Used(max(sizes) if settings.checkpoint_activations else sum(sizes), memory.peak)


class _Peak(TorchDispatchMode):
    """Notes the most bytes that storages made within the block take at a time."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = self.now = 0
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
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._drop, key)

    def _drop(self, key: int) -> None:
        self.now -= self._seen.pop(key)


def _key(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
