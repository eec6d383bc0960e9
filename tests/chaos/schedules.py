"""Schedules: what is done to a stage before it is run again in peace. A schedule is a line of text."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.damage import DAMAGES, files
from tests.chaos.faults import FAULT_KINDS, LIMIT_KINDS, NEEDS_SPACE
from tests.chaos.workshop import Stage

SHARES = {"fault": 10, "space": 4, "kill": 2, "pair": 1, "other": 2, "shards": 1, "damage": 4, "input": 3, "mixed": 2}
"""Kinds of schedules, and their number in relation to each other."""
MANY = 100
"""Number of schedules from which on a run with worker processes is among them; these are slow to start."""


@dataclass(frozen=True)
class Schedule:
    """One disturbance of one stage."""

    stage: str
    kind: str
    arguments: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join((self.stage, self.kind, *self.arguments))

    @classmethod
    def parse(cls, line: str) -> Schedule:
        """Return the schedule that `str` wrote."""
        stage, kind, *arguments = line.split(" ")
        return cls(stage, kind, tuple(arguments))


def draw_schedules(stages: list[Stage], outputs: dict[str, Path], number: int, seed: int) -> list[Schedule]:
    """Return about ``number`` schedules, at least one per stage and kind, in an order that mixes them."""
    by_kind = []
    for stage in stages:
        rng = random.Random(f"{seed} {stage.name}")
        kinds = {kind: list(getattr(_Candidates(stage, outputs[stage.name], rng), kind)()) for kind in SHARES}
        total = sum(share for kind, share in SHARES.items() if kinds[kind])
        for kind, candidates in kinds.items():
            count = min(len(candidates), max(1, round(number / len(stages) * SHARES[kind] / total)))
            chosen = rng.sample(candidates, count)
            by_kind.append([Schedule(stage.name, kind, arguments) for arguments in chosen])
        if stage.workers and number >= MANY:
            time = f"{rng.uniform(3, 6):.2f}"
            by_kind.append([Schedule(stage.name, "workers", (time,))])
    return _evenly_mixed(by_kind)


def _evenly_mixed(groups: list[list[Schedule]]) -> list[Schedule]:
    """Return all schedules so that every part of the list has each group in its proportion: a run may be cut short."""
    placed = [((place + 0.5) / len(group), each) for group in groups for place, each in enumerate(group)]
    return [each for _, each in sorted(placed, key=lambda pair: pair[0])]


@dataclass
class _Candidates:
    """All arguments of the schedules of a stage, by kind."""

    stage: Stage
    output: Path
    rng: random.Random

    def fault(self) -> Iterator[tuple[str, ...]]:
        for at, operation in enumerate(self.stage.operations):
            name = operation.split(" ")[0]
            for kind in FAULT_KINDS:
                fits = {"torn": name == "write", "enospc": name in NEEDS_SPACE, "full": name in NEEDS_SPACE}
                if fits.get(kind, True):
                    yield kind, str(at)

    def space(self) -> Iterator[tuple[str, ...]]:
        """Yield limits below the size of a file, so that its writer meets them: C libraries write large parts."""
        sizes = [(self.output / name).stat().st_size for name in files(self.output)]
        for size in filter(None, sizes):
            yield from ((kind, str(self.rng.randrange(size))) for kind in LIMIT_KINDS for _ in range(10))

    def kill(self) -> Iterator[tuple[str, ...]]:
        for number in range(1000):
            yield tuple(self._time() for _ in range(1 + number % 2))

    def pair(self) -> Iterator[tuple[str, ...]]:
        for _ in range(1000):
            yield (self._time(),)

    def other(self) -> Iterator[tuple[str, ...]]:
        if self.stage.other:
            yield from self.pair()

    def shards(self) -> Iterator[tuple[str, ...]]:
        if self.stage.shards:
            yield from ((self._time(), ending) for _ in range(500) for ending in ("end", self._time()))

    def damage(self) -> Iterator[tuple[str, ...]]:
        for name in files(self.output):
            yield from ((how, name, str(self.rng.randrange(1000))) for how in DAMAGES for _ in range(3))

    def input(self) -> Iterator[tuple[str, ...]]:
        for place, folder in enumerate(self.stage.inputs):
            for name in files(folder):
                yield from ((how, str(place), name, str(self.rng.randrange(1000))) for how in DAMAGES for _ in range(3))

    def mixed(self) -> Iterator[tuple[str, ...]]:
        yield from ((str(self.rng.randrange(10**6)),) for _ in range(1000))

    def _time(self) -> str:
        return f"{self.rng.uniform(0, 1.1 * self.stage.seconds):.3f}"
