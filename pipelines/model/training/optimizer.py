"""AdamW with its own rates for the tile side and the text side, and the course of these rates."""

from __future__ import annotations

import math

import torch
from torch import nn

from pipelines.core.settings.train import TrainSettings

TEXT_SIDE = ("text.", "prompts.")
"""Weights that learn at ``lr_text``."""


def make_optimizer(model: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """Return AdamW over the weights of ``model`` that learn; vectors (biases, norms) do not decay."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            peak = (settings.lr_text if name.startswith(TEXT_SIDE) else settings.lr) or 0.0
            decay = settings.weight_decay if weight.ndim >= 2 else 0.0
            groups.setdefault((peak, decay), []).append(weight)
    parameters = [
        {"params": weights, "lr": peak, "peak": peak, "weight_decay": decay}
        for (peak, decay), weights in groups.items()
    ]
    return torch.optim.AdamW(parameters, betas=(0.9, 0.98), eps=1e-8)


def set_rates(optimizer: torch.optim.Optimizer, share: float) -> None:
    """Set each group's learning rate to ``share`` of its peak."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share


def updates_per_epoch(n_slides: int, settings: TrainSettings) -> int:
    """Return how often the weights change in an epoch; left-over batches count."""
    return math.ceil(math.ceil(n_slides / settings.batch_size) / settings.accumulation)


def learning_rate(step: int, total: int, warmup: float) -> float:
    """Return the share of the peak rate at update ``step`` (from 0) of ``total``: linear up, cosine down to 0.01."""
    rising = max(1, round(warmup * total))
    if step < rising:
        return (step + 1) / rising
    done = (step - rising) / max(1, total - rising)
    return 0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2
