"""Fit FiVE in closed form: the gates to the tiles, then the rest to descriptions or labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from pipelines.model.data.batches import Data
from pipelines.model.networks.five import FiveModel
from pipelines.model.training.objectives import Objective
from pipelines.model.training.progress import Progress

TILES_FOR_GATES = 256
"""Maximum number of tiles per slide from which the directions of the gates are computed, evenly spaced."""


def fit_five(
    model: FiveModel,
    objective: Objective,
    data: Data,
    *,
    max_tiles: int,
    on_epoch: Callable[[Progress], None] = lambda _: None,
) -> Progress:
    """Fit ``model`` in place to what ``objective`` supervises it with; this counts as one epoch.

    A model that was fitted before keeps its gates, and the scale of the slides. If its question is about the classes,
    only the directions are kept, because the classes may be others.

    Parameters
    ----------
    max_tiles
        Maximum number of tiles per slide, evenly spaced.
    """
    model.eval()
    progress = Progress(epoch=1, best_epoch=1)
    with torch.no_grad():
        is_new = not (model.gates.directions.any() or model.spread.any())
        if is_new:
            model.gates.fit(_covariance(model, data))
        has_new_answers = is_new or objective.asks_about_classes
        if model.reads_meaning and has_new_answers:
            _look_for_answers(model, objective.answer_texts(), data)
        pooled = torch.stack([model.pooled(data.reader.evaluation(slide, max_tiles)) for slide in data.train])
        if has_new_answers:
            _standardize(model, pooled.double())
        metrics = objective.fit_five(model, data.train, model.standardized(pooled))
    progress.record({"train": metrics})
    progress.best = metrics["loss"]
    on_epoch(progress)
    return progress


def _look_for_answers(model: FiveModel, answers: Sequence[Sequence[Sequence[str]]], data: Data) -> None:
    """Set the own gate of each question to the texts of its ``answers``, one group of texts per answer."""
    for number, groups in enumerate(answers):
        readable = [texts for texts in groups if not model.too_long(texts)]
        if readable:
            vectors = functional.normalize(model.mean_texts(readable), dim=-1).to(model.device)
            model.gates.look_for(number, vectors, model.feature_mean, model.feature_std)
    model.gates.set_spread(_tiles_for_gates(model, data))


def _standardize(model: FiveModel, pooled: Tensor) -> None:
    """Set centre and size to those of ``pooled`` slides (n, G, C); the size is 1 where all slides are equal."""
    centre = pooled.mean(dim=0)
    lengths = (pooled - centre).square().sum(dim=2).mean(dim=0).sqrt()
    model.centre.copy_(centre)
    model.size.copy_(torch.where(lengths > 1e-6, lengths, torch.ones_like(lengths)))


def _tiles_for_gates(model: FiveModel, data: Data) -> Iterator[Tensor]:
    """Yield the scaled tiles of each training slide, at most `TILES_FOR_GATES`; only one slide is in memory."""
    for slide in data.train:
        yield model.scaled(data.reader.evaluation(slide, TILES_FOR_GATES).features.to(model.device))


def _covariance(model: FiveModel, data: Data) -> Tensor:
    """Return the covariance of scaled tiles around the mean of their slide, (C, C); all slides have the same weight."""
    total = model.feature_mean.new_zeros(len(model.feature_mean), len(model.feature_mean))
    for tiles in _tiles_for_gates(model, data):
        around = tiles - tiles.mean(dim=0)
        total += around.T @ around / len(tiles)
    return total / len(data.train)
