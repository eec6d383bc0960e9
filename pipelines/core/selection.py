"""Which items a stage works on: those of a cohort table, the failed ones, a shard, or all."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

from pipelines.core.errors import SettingsError
from pipelines.core.tables import TableArtifact

T = TypeVar("T")


@dataclass(frozen=True)
class Shard:
    """Part ``index`` (counted from 1) of ``count`` parts of the items, for job arrays."""

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
        """Return every ``count``-th item. Together the shards hold every item once."""
        return list(items[self.index - 1 :: self.count])


@dataclass(frozen=True)
class Selection:
    """Which items a stage works on; everything by default."""

    cohort: Path | None = None
    """Cohort table: only its slides, or the reports of its patients."""
    only_failed: bool = False
    """Only items that failed in an earlier run."""
    shard: Shard = Shard()
    """One part of the items, for job arrays."""
    limit: int | None = None
    """Only the first N items, before they are divided into shards (``five describe-reports``)."""
    overwrite: bool = False
    """Redo outputs that were made with other settings, instead of refusing to mix them."""

    def require_only(self, stage: str, *supported: str) -> None:
        """Check that nothing is selected in a way that ``stage`` does not support.

        Raises
        ------
        SettingsError
            A field that is not in ``supported`` has a value other than its default.
        """
        for field in fields(self):
            if field.name not in supported and getattr(self, field.name) != field.default:
                raise SettingsError(
                    f"{stage}: a selection by {field.name} is not supported",
                    hint=f"it supports {', '.join(supported)}",
                )


EVERYTHING = Selection()


def failed_ids(artifact: TableArtifact, path: Path, key: str = "slide_id") -> set[str]:
    """Return the ids whose status is ``failed`` in the table of an earlier run."""
    return {str(row[key]) for row in artifact.read_rows(path) if row["status"] == "failed"}


def only(items: Iterable[T], ids: set[str], key: str = "slide_id") -> list[T]:
    """Return the items whose ``key`` is in ``ids``."""
    return [item for item in items if getattr(item, key) in ids]
