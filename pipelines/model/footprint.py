"""What a training needs: parameters, and memory as autograd will use it.

The memory of a step is not a formula of the network: the loss of a small batch is computed twice, with
few tiles and with twice as many, the tensors that autograd keeps are added up, and the line through both
is followed to the largest batch. It holds for any model whose memory grows linearly with its tiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from pipelines.core.settings.train import TrainSettings
from pipelines.model.bag_model import BagModel
from pipelines.model.bags import BagFile, BagReader, tiles_drawn
from pipelines.model.batches import Data
from pipelines.model.objectives import Objective

FEW_TILES = 16
"""Tiles of a slide in the small batch."""
MB = 1e6


@dataclass(frozen=True)
class Footprint:
    """Size of a training; memory comes beside that of the program itself."""

    trainable: int
    """Parameters that learn."""
    frozen: int
    """Parameters that do not."""
    state_mb: float
    """Weights, their gradients, the moments of AdamW, and the copy of the best epoch."""
    step_mb: float
    """What the forward pass of the largest batch keeps for the backward pass."""
    features_mb: float
    """Feature files that stay in memory."""


def footprint(model: BagModel, objective: Objective, data: Data, settings: TrainSettings) -> Footprint:
    """Return what training ``model`` on ``data`` needs."""
    if settings.lr_text == 0:
        model.freeze_text()
    model.train()
    trainable = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    frozen = sum(weight.numel() for weight in model.parameters() if not weight.requires_grad)
    slides = sorted(data.train, key=lambda slide: -slide.n_tiles)[: settings.batch_size]
    few, many = (_kept(model, objective, slides, data.reader, settings, most) for most in (FEW_TILES, 2 * FEW_TILES))
    sizes = [tiles_drawn(slide.n_tiles, settings.tile_ratio, settings.max_tiles) for slide in slides]
    per_tile = (many.bytes - few.bytes) / max(1, many.tiles - few.tiles)
    fixed, tiles = few.bytes - per_tile * few.tiles, sum(sizes)
    if settings.checkpoint_activations:
        model.checkpoint_activations()
        fixed = _kept(model, objective, slides, data.reader, settings, FEW_TILES).bytes
        tiles = max(sizes)
    features = sum(slide.n_tiles for slide in [*data.train, *data.val]) * model.spec.feature_dim * 4
    return Footprint(
        trainable=trainable,
        frozen=frozen,
        state_mb=(5 * trainable + frozen) * 4 / MB,
        step_mb=(max(0.0, fixed) + per_tile * tiles) / MB,
        features_mb=min(features, data.reader.cache_bytes) / MB,
    )


@dataclass(frozen=True)
class _Kept:
    tiles: int
    bytes: int


def _kept(
    model: BagModel,
    objective: Objective,
    slides: Sequence[BagFile],
    reader: BagReader,
    settings: TrainSettings,
    most: int,
) -> _Kept:
    """Return the bytes that the loss of ``slides`` with at most ``most`` tiles each keeps, weights left out."""
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    storages: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    bags = [reader.training(slide, settings.tile_ratio, most, np.random.default_rng(0)) for slide in slides]
    torch.manual_seed(0)
    with saved_tensors_hooks(note, lambda tensor: tensor):
        objective.loss(model, bags, np.random.default_rng(0))
    return _Kept(sum(len(bag.features) for bag in bags), sum(storages.values()))
