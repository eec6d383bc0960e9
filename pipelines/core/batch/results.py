"""The results of a batch: one per item, and a summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any


class Outcome(str, Enum):
    """What happened to an item."""

    DONE = "done"
    KEPT = "kept"
    """It was up to date: an earlier run made it with the same settings."""
    EMPTY = "empty"
    """A success without content, for example a slide without tissue."""
    FAILED = "failed"
    BUSY = "busy"
    """Another process that works on the same folder is making it and will record it."""


@dataclass(frozen=True)
class Result:
    """The result of one item."""

    item_id: str
    outcome: Outcome
    row: Mapping[str, Any] = field(default_factory=dict)
    """Its row in the table of the stage; of a failed item the columns about the failure."""
    rows: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Its rows by output, where a stage writes several tables (one per encoder)."""
    note: str = ""
    """Text to show beside the progress, for example the losses of an epoch."""
    error: str = ""
    """One line: what went wrong and what to do."""
    total: int | None = None
    """Number of items in the batch, where it is known."""


@dataclass(frozen=True)
class Summary:
    """The results of a stage, for people and for ``--json``."""

    output: Path
    results: tuple[Result, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Further results by name, for example tiles per second."""

    @property
    def counts(self) -> dict[str, int]:
        """Number of items by outcome."""
        counts = Counter(result.outcome for result in self.results)
        return {outcome.value: counts[outcome] for outcome in Outcome}

    @property
    def failures(self) -> list[Result]:
        """The items that failed."""
        return [result for result in self.results if result.outcome is Outcome.FAILED]


OnResult = Callable[[Result], None]
