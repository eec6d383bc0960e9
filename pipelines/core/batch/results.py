"""What became of the items of a batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any


class Outcome(str, Enum):
    """What became of an item."""

    DONE = "done"
    KEPT = "kept"
    """An earlier run with the same settings made it."""
    EMPTY = "empty"
    """A recorded success with nothing in it, for example a slide without tissue."""
    FAILED = "failed"
    BUSY = "busy"
    """Another process on the same folder is making it and will record it."""


@dataclass(frozen=True)
class Result:
    """What became of one item, and its row in the stage's table."""

    item_id: str
    outcome: Outcome
    row: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    """One line: what went wrong and what to do."""
    total: int | None = None
    """Items of the batch, where it is known."""


@dataclass(frozen=True)
class Summary:
    """What a stage did, for people and for ``--json``."""

    output: Path
    results: tuple[Result, ...]
    figures: Mapping[str, Any] = field(default_factory=dict)
    """Further figures of the stage by name, for example tiles per second."""

    @property
    def counts(self) -> dict[str, int]:
        """Number of items by outcome."""
        found = Counter(result.outcome for result in self.results)
        return {outcome.value: found[outcome] for outcome in Outcome}

    @property
    def failures(self) -> list[Result]:
        """The items that failed."""
        return [result for result in self.results if result.outcome is Outcome.FAILED]


OnResult = Callable[[Result], None]
