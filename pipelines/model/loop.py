"""The training loop: epochs, learning rates, the best epoch, and states from which it goes on exactly.

Order, sampling, dropped questions and dropout of an epoch depend on the seed and the epoch's number
only, so that a run that was killed and resumed gives the weights of an undisturbed one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from pipelines.core.errors import FiveError
from pipelines.core.settings.train import TrainSettings
from pipelines.model.bags import BagFile, BagReader
from pipelines.model.checkpoint import learned_state, load_learned
from pipelines.model.five import FiveModel
from pipelines.model.objectives import Objective
from pipelines.model.states import STATE, Progress, restore_state, save_state

STATE_SECONDS = 30.0
"""States are written at most so often, at the end of an epoch."""
TEXT_SIDE = ("text.", "prompts.")
"""Weights that learn at ``lr_text``."""


@dataclass(frozen=True)
class Data:
    """The slides of a run and how they are read."""

    train: Sequence[BagFile]
    val: Sequence[BagFile]
    reader: BagReader


def fit(
    model: FiveModel,
    objective: Objective,
    data: Data,
    settings: TrainSettings,
    states: Path,
    *,
    run_id: str,
    bf16: bool = False,
    on_epoch: Callable[[Progress], None] = lambda _: None,
) -> Progress:
    """Train ``model`` in place and leave it with the weights of the best validation epoch.

    The best epoch is that of the lowest validation loss: other figures take few values on the few
    validation slides of a small cohort. Without validation slides the last epoch is taken.

    Parameters
    ----------
    states
        Folder from which an interrupted run with the same ``run_id`` goes on.
    bf16
        Compute in bfloat16 where the device is faster at it.

    Raises
    ------
    FiveError
        The loss is not a number; the slides of the batch are named.
    """
    optimizer = _optimizer(model, settings)
    best = learned_state(model)
    progress = restore_state(states / STATE, run_id, model, optimizer, best) or Progress()
    total = settings.epochs * updates_per_epoch(len(data.train), settings)
    saved = time.monotonic()
    while progress.epoch < settings.epochs and progress.epoch - progress.best_epoch < settings.patience:
        progress.epoch += 1
        figures = {"train": _epoch(model, objective, data, settings, optimizer, progress, total, bf16=bf16)}
        if data.val:
            figures["val"] = validate(model, objective, data, settings)
        _record(progress, figures)
        value = figures["val"]["loss"] if data.val else -float(progress.epoch)
        if value < progress.best:
            progress.best, progress.best_epoch, best = value, progress.epoch, learned_state(model)
        if time.monotonic() - saved > STATE_SECONDS:
            save_state(states / STATE, run_id, model, optimizer, best, progress)
            saved = time.monotonic()
        on_epoch(progress)
    load_learned(model, best, "best epoch")
    model.eval()
    return progress


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


def validate(model: FiveModel, objective: Objective, data: Data, settings: TrainSettings) -> dict[str, float]:
    """Return the figures of the validation slides; prompts are encoded once."""
    model.eval()
    with torch.inference_mode():
        prompts = model.encode_prompts()
        bags = (data.reader.evaluation(bag, settings.max_tiles_eval) for bag in data.val)
        vectors = torch.cat([model.encode_bags([bag], prompts) for bag in bags])
        return objective.validate(model, [bag.slide_id for bag in data.val], vectors)


def _epoch(
    model: FiveModel,
    objective: Objective,
    data: Data,
    settings: TrainSettings,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    total: int,
    *,
    bf16: bool,
) -> dict[str, float]:
    rng = np.random.default_rng([settings.seed, progress.epoch])
    torch.manual_seed(int(rng.integers(2**31)))
    model.train()
    order = rng.permutation(len(data.train))
    batches = [order[start : start + settings.batch_size] for start in range(0, len(order), settings.batch_size)]
    losses = []
    for number, members in enumerate(batches, start=1):
        bags = [
            data.reader.training(data.train[index], settings.tile_ratio, settings.max_tiles, rng) for index in members
        ]
        with torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
            loss = objective.loss(model, bags, rng)
        losses.append(_checked(loss, [bag.slide_id for bag in bags], progress.epoch))
        (loss / settings.accumulation).backward()
        if number % settings.accumulation == 0 or number == len(batches):
            _update(model, optimizer, settings, learning_rate(progress.step, total, settings.warmup))
            progress.step += 1
    return {"loss": float(np.mean(losses)), "logit_scale": model.scale.item()}


def _update(model: nn.Module, optimizer: torch.optim.Optimizer, settings: TrainSettings, share: float) -> None:
    if settings.clip_norm:
        nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _checked(loss: Tensor, slide_ids: Sequence[str], epoch: int) -> float:
    value = loss.item()
    if not math.isfinite(value):
        raise FiveError(
            f"epoch {epoch}: the loss is {value} on a batch of the slides {', '.join(slide_ids)}",
            hint="look for NaN in their features (`five embed --overwrite` makes them anew), or lower --lr",
        )
    return value


def _optimizer(model: FiveModel, settings: TrainSettings) -> torch.optim.Optimizer:
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            peak = settings.lr_text if name.startswith(TEXT_SIDE) else settings.lr
            decay = settings.weight_decay if weight.ndim >= 2 else 0.0
            groups.setdefault((peak, decay), []).append(weight)
    parameters = [
        {"params": weights, "lr": peak, "peak": peak, "weight_decay": decay}
        for (peak, decay), weights in groups.items()
    ]
    return torch.optim.AdamW(parameters, betas=(0.9, 0.98), eps=1e-8)


def _record(progress: Progress, figures: dict[str, dict[str, float]]) -> None:
    progress.history += [
        {"epoch": progress.epoch, "split": split, "name": name, "value": value}
        for split, found in figures.items()
        for name, value in found.items()
    ]
