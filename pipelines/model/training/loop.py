"""The training loop: epochs, selection of the best epoch, and exact resuming.

Several processes (``torchrun``, ``accelerate launch``) divide the batches of each update among them. Their number
changes how long a run takes; up to rounding it does not change the result.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from pipelines.core.errors import FiveError
from pipelines.core.settings.train import TrainSettings
from pipelines.model.data.bags import TileBag
from pipelines.model.data.batches import Batch, Data, Stopwatch, epoch_batches, read_ahead, read_evaluation
from pipelines.model.networks.bag_model import BagModel
from pipelines.model.networks.checkpoint import load_learned
from pipelines.model.training.objectives import Objective
from pipelines.model.training.optimizer import learning_rate, make_optimizer, set_rates, updates_per_epoch
from pipelines.model.training.progress import Progress
from pipelines.model.training.resume import ResumeFile

if TYPE_CHECKING:
    from accelerate import Accelerator

STATE_SECONDS = 30.0
"""Minimum number of seconds between two writes of the resume file, which is written at the end of an epoch."""


def fit(
    model: BagModel,
    objective: Objective,
    data: Data,
    settings: TrainSettings,
    resume: ResumeFile,
    *,
    accelerator: Accelerator,
    on_epoch: Callable[[Progress], None] = lambda _: None,
) -> Progress:
    """Train ``model`` in place and restore the weights of its best epoch.

    The best epoch has the lowest validation loss; other metrics take only a few distinct values on the few validation
    slides of a small cohort. Without validation slides it is the last epoch.

    Parameters
    ----------
    resume
        File from which an interrupted run resumes.
    accelerator
        Device, precision and the processes that share the work.
    on_epoch
        Called in the main process after each epoch.

    Raises
    ------
    FiveError
        The training loss of a batch or the validation loss of an epoch is not finite.
    """
    training = _Training(model, objective, data, settings, accelerator)
    best = model.learned_state()
    progress = resume.restore(model, training.plain_optimizer, best) or Progress()
    saved = time.monotonic()
    while progress.epoch < settings.epochs and progress.epoch - progress.best_epoch < settings.patience:
        progress.epoch += 1
        watch = Stopwatch()
        metrics = {"train": training.epoch(progress, watch)}
        if data.val:
            metrics["val"] = validate(model, objective, data, settings, accelerator, watch)
            _check_validation(metrics["val"]["loss"], progress.epoch)
        progress.record(metrics)
        progress.seconds += watch.seconds
        progress.waited += watch.waited
        value = metrics["val"]["loss"] if data.val else -float(progress.epoch)
        if value < progress.best:
            progress.best, progress.best_epoch, best = value, progress.epoch, model.learned_state()
        if accelerator.is_main_process:
            if time.monotonic() - saved > STATE_SECONDS:
                resume.save(model, training.plain_optimizer, best, progress)
                saved = time.monotonic()
            on_epoch(progress)
    load_learned(model, best, "best epoch")
    model.eval()
    return progress


def validate(
    model: BagModel,
    objective: Objective,
    data: Data,
    settings: TrainSettings,
    accelerator: Accelerator,
    watch: Stopwatch,
) -> dict[str, float]:
    """Return the metrics of the validation slides. Prompts are encoded once; processes divide the slides among them."""
    model.eval()
    rank, world = accelerator.process_index, accelerator.num_processes
    with torch.no_grad():  # not inference_mode: text vectors that a frozen model caches here are used in training later
        prompts = model.encode_prompts()
        vectors = torch.zeros(len(data.val), model.vector_width, device=model.device)
        bags = read_evaluation(data.val[rank::world], data.reader, settings.max_tiles_eval, watch)
        for row, bag in zip(range(rank, len(data.val), world), bags, strict=True):
            vectors[row] = model.encode_bags([bag], prompts)[0]
        vectors = _summed(accelerator, vectors)
        return objective.validate(model, [bag.slide_id for bag in data.val], vectors)


class _Step(nn.Module):
    """The loss of a batch as one module, so that data parallelism wraps all of it."""

    def __init__(self, model: BagModel, objective: Objective) -> None:
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, bags: Sequence[TileBag], rng: np.random.Generator) -> Tensor:
        return self.objective.loss(self.model, bags, rng)


@dataclass
class _Training:
    """Epochs of weight updates."""

    model: BagModel
    objective: Objective
    data: Data
    settings: TrainSettings
    accelerator: Accelerator

    def __post_init__(self) -> None:
        if self.settings.checkpoint_activations:
            self.model.checkpoint_activations()
        self.model.label_smoothing = self.settings.label_smoothing
        if self.settings.lr_text == 0:
            self.model.freeze_text()
        self.plain_optimizer = make_optimizer(self.model, self.settings)
        step = _Step(self.model, self.objective)
        self.step, self.optimizer = self.accelerator.prepare(step, self.plain_optimizer)
        self.total = self.settings.epochs * updates_per_epoch(len(self.data.train), self.settings)

    def epoch(self, progress: Progress, watch: Stopwatch) -> dict[str, float]:
        """Train on each training slide once; return the mean batch loss and the logit scale."""
        self.model.train()
        batches = epoch_batches(self.data, self.settings, progress.epoch)
        size = self.settings.accumulation
        updates = [batches[start : start + size] for start in range(0, len(batches), size)]
        shares = [self._share(update) for update in updates]
        bags = read_ahead([batch for share in shares for batch in share], self.data.reader, self.settings, watch)
        losses: list[float] = []
        for update, share in zip(updates, shares, strict=True):
            losses += _checked(self._gradients(update, share, bags), update, progress.epoch)
            self._update(learning_rate(progress.step, self.total, self.settings.warmup))
            progress.step += 1
        return {"loss": float(np.mean(losses)), "logit_scale": self.model.scale.item()}

    def _share(self, update: Sequence[Batch]) -> Sequence[Batch]:
        """Return the batches of an update for this process; at least one, since all processes exchange gradients."""
        return update[self.accelerator.process_index :: self.accelerator.num_processes] or update[:1]

    def _gradients(self, update: Sequence[Batch], share: Sequence[Batch], bags: Iterator[list[TileBag]]) -> list[float]:
        """Accumulate the gradients of an update; return the losses of all its batches."""
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        losses = torch.zeros(len(update), device=self.model.device)
        for index, batch in enumerate(share):
            rng = batch.rng(1)
            torch.manual_seed(int(rng.integers(2**31)))
            is_last = index == len(share) - 1
            with nullcontext() if is_last else self.accelerator.no_sync(self.step):
                loss = self.step(next(bags), rng)
                is_own = rank < len(update)
                # processes average their gradients; this factor turns that into the mean over all batches
                self.accelerator.backward(loss * (world / len(update) if is_own else 0.0))
            if is_own:
                losses[rank + index * world] = loss.detach()
        return _summed(self.accelerator, losses).tolist()

    def _update(self, share: float) -> None:
        set_rates(self.plain_optimizer, share)
        if self.settings.clip_norm:
            self.accelerator.clip_grad_norm_(self.step.parameters(), self.settings.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def _summed(accelerator: Accelerator, values: Tensor) -> Tensor:
    total: Tensor = accelerator.reduce(values, "sum") if accelerator.num_processes > 1 else values
    return total


def _check_validation(loss: float, epoch: int) -> None:
    if not math.isfinite(loss):
        raise FiveError(
            f"epoch {epoch}: the validation loss is {loss} because the weights grew too large", hint="lower --lr"
        )


def _checked(losses: list[float], update: Sequence[Batch], epoch: int) -> list[float]:
    for value, batch in zip(losses, update, strict=True):
        if not math.isfinite(value):
            names = ", ".join(slide.slide_id for slide in batch.slides)
            raise FiveError(
                f"epoch {epoch}: the loss is {value} on a batch with the slides {names}",
                hint="check their features for NaN (`five embed --overwrite` computes them again), or lower --lr",
            )
    return losses
