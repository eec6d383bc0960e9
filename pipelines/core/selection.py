"""Which items of a batch to work on: those of a cohort, the failed ones, a shard, or all."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pipelines.core.errors import SettingsError
from pipelines.core.tables import TableArtifact

T = TypeVar("T")


@dataclass(frozen=True)
class Shard:
    """Part ``index`` (from 1) of ``count`` parts of the items, for job arrays."""

    index: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``3/16``.

        Raises
        ------
        SettingsError
            The text is not INDEX/COUNT with 1 <= INDEX <= COUNT.
        """
        match = re.fullmatch(r"(\d+)/(\d+)", text)
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise SettingsError(f"--shard {text}: not INDEX/COUNT", hint="for example --shard 3/16, counted from 1")
        return cls(int(match[1]), int(match[2]))

    def of(self, items: Sequence[T]) -> list[T]:
        """Return every ``count``-th item, so that the shards are disjoint and together are all."""
        return list(items[self.index - 1 :: self.count])


@dataclass(frozen=True)
class Selection:
    """Which items of a batch to work on; all without a word."""

    cohort: Path | None = None
    """Cohort table; only its slides, or the reports of its patients."""
    only_failed: bool = False
    """Only those that an earlier run failed at."""
    shard: Shard = Shard()
    """A part of them, for job arrays."""


EVERYTHING = Selection()


def failed_ids(artifact: TableArtifact, path: Path, key: str = "slide_id") -> set[str]:
    """Return the ids whose status is ``failed`` in the table of an earlier run."""
    return {str(row[key]) for row in artifact.read_rows(path) if row["status"] == "failed"}


def only(items: Iterable[T], ids: set[str], key: str = "slide_id") -> list[T]:
    """Return the items whose ``key`` is in ``ids``."""
    return [item for item in items if getattr(item, key) in ids]
