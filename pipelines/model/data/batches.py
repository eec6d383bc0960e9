"""The batches of an epoch: which slides stand together, in which order, and reading them ahead.

Everything about a batch depends on the seed, the epoch and the batch's number only. So a run that
was killed and resumed, or that several processes share, computes the same batches.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.core.prefetch import Waiting, prefetch
from pipelines.core.settings.train import TrainSettings
from pipelines.model.data.bags import BagFile, BagReader, TileBag

READ_AHEAD = 2
"""Batches that are read while another is computed on."""


@dataclass(frozen=True)
class Batch:
    """Slides whose bags enter the model together."""

    number: int
    """From 0 in each epoch."""
    slides: Sequence[BagFile]
    seed: tuple[int, int, int]

    def rng(self, use: int) -> np.random.Generator:
        """Return the random numbers of this batch for one use; each use has its own."""
        return np.random.default_rng([*self.seed, use])


@dataclass(frozen=True)
class Data:
    """The slides of a run and how they are read."""

    train: Sequence[BagFile]
    val: Sequence[BagFile]
    reader: BagReader
    strata: Sequence[Sequence[int]] = ()
    """Places in ``train`` of the slides of each class; empty without classes."""


class Stopwatch(Waiting):
    """Seconds spent, and those among them spent waiting for data."""

    def __init__(self) -> None:
        super().__init__()
        self.started = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.perf_counter() - self.started


def epoch_batches(data: Data, settings: TrainSettings, epoch: int) -> list[Batch]:
    """Return the batches of an epoch; the last may be smaller."""
    rng = np.random.default_rng([settings.seed, epoch])
    if settings.balance == "sampling" and data.strata:
        order = balanced_order(data.strata, len(data.train), rng)
    else:
        order = rng.permutation(len(data.train))
    starts = range(0, len(order), settings.batch_size)
    return [
        Batch(
            number,
            [data.train[row] for row in order[start : start + settings.batch_size]],
            (settings.seed, epoch, number),
        )
        for number, start in enumerate(starts)
    ]


def balanced_order(strata: Sequence[Sequence[int]], total: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return ``total`` members of the strata in random order, from each stratum as many, to within one.

    Within a stratum no member comes again before all have come: the members of a small one come
    several times, of a large one a random part does not come.
    """
    shares = rng.permutation(np.arange(len(strata)) < total % len(strata)) + total // len(strata)
    drawn = []
    for members, share in zip(strata, shares, strict=True):
        rounds = max(1, -(-int(share) // len(members)))
        drawn.append(np.concatenate([rng.permutation(members) for _ in range(rounds)])[:share])
    return rng.permutation(np.concatenate(drawn))


def read_ahead(
    batches: Sequence[Batch], reader: BagReader, settings: TrainSettings, watch: Stopwatch
) -> Iterator[list[TileBag]]:
    """Yield the bags of each batch, read by a thread while the batch before is computed on."""

    def read(batch: Batch) -> list[TileBag]:
        rng = batch.rng(0)
        return [reader.training(slide, settings.tile_ratio, settings.max_tiles, rng) for slide in batch.slides]

    yield from watch.over(prefetch(read, batches, threads=1, ahead=READ_AHEAD))


def read_evaluation(slides: Sequence[BagFile], reader: BagReader, most: int, watch: Stopwatch) -> Iterator[TileBag]:
    """Yield the bags of slides with at most ``most`` tiles each, read ahead."""
    bags = prefetch(lambda slide: reader.evaluation(slide, most), slides, threads=1, ahead=READ_AHEAD)
    yield from watch.over(bags)
