"""AdamW with separate learning rates for the tile side and the text side, and the learning-rate schedule."""

from __future__ import annotations

import math

import torch
from torch import nn

from pipelines.core.settings.train import TrainSettings
from pipelines.model.networks.bag_model import BagModel


def make_optimizer(model: BagModel, settings: TrainSettings) -> torch.optim.Optimizer:
    """Return AdamW over the trainable parameters of ``model``; biases and norms have no weight decay."""
    text_side = {id(weight) for weight in model.text_parameters()}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for weight in model.parameters():
        if weight.requires_grad:
            peak = (settings.lr_text if id(weight) in text_side else settings.lr) or 0.0
            decay = settings.weight_decay if weight.ndim >= 2 else 0.0
            groups.setdefault((peak, decay), []).append(weight)
    parameters = [
        {"params": weights, "lr": peak, "peak": peak, "weight_decay": decay}
        for (peak, decay), weights in groups.items()
    ]
    return torch.optim.AdamW(parameters, betas=(0.9, 0.98), eps=1e-8)


def set_rates(optimizer: torch.optim.Optimizer, share: float) -> None:
    """Set the learning rate of each group to ``share`` of its peak."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share


def updates_per_epoch(n_slides: int, settings: TrainSettings) -> int:
    """Return the number of weight updates per epoch; incomplete batches and updates count."""
    return math.ceil(math.ceil(n_slides / settings.batch_size) / settings.accumulation)


def learning_rate(step: int, total: int, warmup: float) -> float:
    """Return the learning rate of update ``step`` (from 0) of ``total``, as a share of the peak.

    It rises linearly over the share ``warmup`` of the updates, then falls to 0.01 along a cosine.
    """
    rising = max(1, round(warmup * total))
    if step < rising:
        return (step + 1) / rising
    done = (step - rising) / max(1, total - rising)
    return 0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2
