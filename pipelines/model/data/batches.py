"""Group the slides of an epoch into batches, and read batches ahead of the computation.

A batch depends only on the seed, the epoch and its number. A resumed run, or one that several
processes share, therefore computes the same batches.
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
"""Number of batches read ahead of the one being computed."""


@dataclass(frozen=True)
class Batch:
    """Slides that enter the model together."""

    number: int
    """Index in the epoch, from 0."""
    slides: Sequence[BagFile]
    seed: tuple[int, int, int]
    """Seed of the run, epoch, and number of the batch."""

    def rng(self, use: int) -> np.random.Generator:
        """Return a new generator for this batch; each ``use`` (0, 1, ...) has its own random stream."""
        return np.random.default_rng([*self.seed, use])


@dataclass(frozen=True)
class Data:
    """The slides of a run and the reader of their bags."""

    train: Sequence[BagFile]
    val: Sequence[BagFile]
    reader: BagReader
    strata: Sequence[Sequence[int]] = ()
    """Indices into ``train`` of the slides of each class; empty without classes."""


class Stopwatch(Waiting):
    """Measure the elapsed time, and the part of it spent waiting for data."""

    def __init__(self) -> None:
        super().__init__()
        self.started = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.started


def epoch_batches(data: Data, settings: TrainSettings, epoch: int) -> list[Batch]:
    """Return the batches of an epoch; the last one may be smaller."""
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
    """Return ``total`` members of the strata in random order, equally many from each stratum (within one).

    A member repeats only after all others of its stratum have appeared. Members of a small stratum
    therefore appear several times, and a random part of a large stratum does not appear.
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
    """Yield the bags of each batch; a thread reads the next batches while one is computed."""

    def read(batch: Batch) -> list[TileBag]:
        rng = batch.rng(0)
        return [reader.training(slide, settings.tile_ratio, settings.max_tiles, rng) for slide in batch.slides]

    yield from watch.over(prefetch(read, batches, threads=1, ahead=READ_AHEAD))


def read_evaluation(
    slides: Sequence[BagFile], reader: BagReader, max_tiles: int, watch: Stopwatch
) -> Iterator[TileBag]:
    """Yield the bag of each slide, with at most ``max_tiles`` evenly spaced tiles, read ahead."""
    bags = prefetch(lambda slide: reader.evaluation(slide, max_tiles), slides, threads=1, ahead=READ_AHEAD)
    yield from watch.over(bags)
