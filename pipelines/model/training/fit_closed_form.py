"""Fit the closed form of FiVE to descriptions or to labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pipelines.model.data.bags import BagFile, BagReader
from pipelines.model.data.batches import Data
from pipelines.model.networks.closed_form import LinearFive
from pipelines.model.training.objectives import Objective
from pipelines.model.training.progress import Progress


def fit_closed_form(
    model: LinearFive,
    objective: Objective,
    data: Data,
    *,
    max_tiles: int,
    on_epoch: Callable[[Progress], None] = lambda _: None,
) -> Progress:
    """Fit ``model`` in place to what ``objective`` supervises it with; this counts as one epoch.

    Parameters
    ----------
    max_tiles
        Maximum number of tiles per slide, evenly spaced.
    """
    model.eval()
    progress = Progress(epoch=1, best_epoch=1)
    with torch.no_grad():
        train, val = (_pooled(model, part, data.reader, max_tiles) for part in (data.train, data.val))
        if not model.to_text.any():  # fine-tuning keeps the standardization of the pretraining
            model.centre.copy_(train.mean(dim=0))
            model.size.copy_((train - model.centre).square().sum(dim=1).mean().sqrt().clamp(min=1e-6))
        slides = {"train": (data.train, model.standardized(train)), "val": (data.val, model.standardized(val))}
        metrics = objective.fit_closed_form(model, slides)
    progress.record(metrics)
    progress.best = metrics.get("val", metrics["train"])["loss"]
    on_epoch(progress)
    return progress


def _pooled(model: LinearFive, slides: Sequence[BagFile], reader: BagReader, max_tiles: int) -> Tensor:
    """Return the pooled tiles of each slide, (n, C)."""
    pooled = [model.pooled(reader.evaluation(slide, max_tiles)) for slide in slides]
    return torch.stack(pooled) if pooled else model.centre.new_empty(0, len(model.centre))
