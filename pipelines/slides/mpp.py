"""Microns per pixel of a slide: which source to believe, and where sources disagree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.core.errors import MissingMppError, SlideError
from pipelines.core.settings.tile import PLAUSIBLE_MPP, plausible_mpp

MICRONS_PER_UNIT = {"inch": 25_400.0, "centimeter": 10_000.0}
"""Units of TIFF resolution tags, in OpenSlide's words."""
TOLERANCE = 0.05
"""Sources that differ by more than this share are in conflict."""


@dataclass(frozen=True)
class RecordedMpp:
    """Microns per pixel at level 0 as one source states it."""

    source: str
    """cohort | metadata | tiff-tags | flag."""
    x: float
    y: float

    @property
    def is_plausible(self) -> bool:
        """False for values no slide scanner makes, for example 352.8 (a 72 dpi tag)."""
        return plausible_mpp(self.x) and plausible_mpp(self.y)

    def __str__(self) -> str:
        same = abs(self.x - self.y) <= TOLERANCE * self.x
        return f"{self.source} {self.x:.4g}" if same else f"{self.source} {self.x:.4g} x {self.y:.4g}"


@dataclass(frozen=True)
class SlideMpp:
    """The microns per pixel that are used for a slide."""

    x: float
    y: float
    source: str
    conflict: str | None
    """Sources that disagree by more than 5 %, in one line; None where none do."""

    @property
    def mean(self) -> float:
        """Geometric mean of both axes: a tile of this mpp covers the right area."""
        return float((self.x * self.y) ** 0.5)


def resolve_mpp(
    path: Path, recorded: Sequence[RecordedMpp], *, cohort: float | None = None, flag: float | None = None
) -> SlideMpp:
    """Return the first plausible of: cohort table, slide metadata, TIFF tags, and last ``flag``.

    Parameters
    ----------
    recorded
        What the slide file says, best source first.
    flag
        Value for slides that record none; never in conflict with anything.

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
            f"{path}: the cohort table gives mpp {cohort:g}, which is not within {low:g} to {high:g} microns per pixel",
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


def openslide_mpp(properties: Mapping[str, str]) -> list[RecordedMpp]:
    """Return what OpenSlide's properties say, best first: the vendor's metadata, then TIFF tags.

    OpenSlide itself takes the mpp of a generic TIFF from the tags, so that counts as tags.
    """
    found = []
    x, y = _number(properties, "openslide.mpp-x"), _number(properties, "openslide.mpp-y")
    if x and y and properties.get("openslide.vendor") != "generic-tiff":
        found.append(RecordedMpp("metadata", x, y))
    unit = MICRONS_PER_UNIT.get(properties.get("tiff.ResolutionUnit", ""), 0.0)
    x, y = _number(properties, "tiff.XResolution"), _number(properties, "tiff.YResolution")
    if x and y and unit:
        found.append(RecordedMpp("tiff-tags", unit / x, unit / y))
    return found


def _number(properties: Mapping[str, str], name: str) -> float | None:
    try:
        value = float(properties.get(name, ""))
    except ValueError:
        return None
    return value if 0 < value < float("inf") else None
