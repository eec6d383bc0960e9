"""Microns per pixel of a slide: which source is used, and whether the sources agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.core.errors import MissingMppError, SlideError
from pipelines.core.settings.tile import PLAUSIBLE_MPP, plausible_mpp

TOLERANCE = 0.05
"""Sources that differ by more than this fraction are in conflict."""


@dataclass(frozen=True)
class RecordedMpp:
    """Microns per pixel at level 0 from one source."""

    source: str
    """``cohort``, ``metadata``, ``tiff-tags`` or ``flag``."""
    x: float
    y: float

    @property
    def is_plausible(self) -> bool:
        """False for values that no slide scanner produces, for example 352.8 (a 72 dpi tag)."""
        return plausible_mpp(self.x) and plausible_mpp(self.y)

    def __str__(self) -> str:
        same = abs(self.x - self.y) <= TOLERANCE * self.x
        return f"{self.source} {self.x:.4g}" if same else f"{self.source} {self.x:.4g} x {self.y:.4g}"


@dataclass(frozen=True)
class SlideMpp:
    """Microns per pixel at level 0 that is used for a slide."""

    x: float
    y: float
    source: str
    """Source of the values, as in `RecordedMpp`."""
    conflict: str | None
    """Sources that differ by more than 5 %, in one line; None if all agree."""

    @property
    def mean(self) -> float:
        """Geometric mean of both axes, which gives a square tile the right area."""
        return float((self.x * self.y) ** 0.5)


def resolve_mpp(
    path: Path, recorded: Sequence[RecordedMpp], *, cohort: float | None = None, flag: float | None = None
) -> SlideMpp:
    """Return the first plausible value of: cohort table, slide metadata, TIFF tags, ``flag``.

    Parameters
    ----------
    recorded
        Values in the slide file, most reliable source first.
    flag
        Value for slides that record none. It is never reported as a conflict.

    Raises
    ------
    SlideError
        The cohort's value is not plausible.
    MissingMppError
        No source has a plausible value.
    """
    if cohort is not None and not plausible_mpp(cohort):
        low, high = PLAUSIBLE_MPP
        raise SlideError(
            f"{path}: mpp {cohort:g} in the cohort table is not within {low:g} to {high:g} microns per pixel",
            hint="correct the column 'mpp' (0.25 for a 40x scan)",
        )
    sources = [RecordedMpp("cohort", cohort, cohort)] if cohort is not None else []
    sources += [value for value in recorded if value.is_plausible]
    if sources:
        used = sources[0]
        return SlideMpp(used.x, used.y, used.source, _conflict(sources))
    if flag is not None:
        return SlideMpp(flag, flag, "flag", None)
    raise MissingMppError(path, absurd=", ".join(str(value) for value in recorded))


def _conflict(sources: Sequence[RecordedMpp]) -> str | None:
    values = [value for source in sources for value in (source.x, source.y)]
    if max(values) <= min(values) * (1 + TOLERANCE):
        return None
    return ", ".join(str(source) for source in sources)
