"""What every reader of slide files offers."""

from __future__ import annotations

from typing import Protocol

from pipelines.slides.mpp import RecordedMpp
from pipelines.slides.pixels import Rgb, resampled

DAMAGED = "the file may be damaged or incomplete: copy it again, or leave the slide out"


class Reader(Protocol):
    """One open slide file. Associated images (label, macro) are out of reach on purpose."""

    vendor: str
    level_dimensions: tuple[tuple[int, int], ...]
    """Width and height of each level, pixels; level 0 is the largest."""
    level_downsamples: tuple[float, ...]
    recorded_mpp: tuple[RecordedMpp, ...]

    def read(self, x: int, y: int, level: int, width: int, height: int) -> Rgb:
        """Return ``width`` x ``height`` pixels of ``level`` from (x, y) in level-0 pixels; white outside."""

    def read_scaled(self, x: int, y: int, level: int, width: int, height: int, size: tuple[int, int]) -> Rgb:
        """Return the region of `read` as ``size`` (width, height) pixels, resampled once."""
        return resampled(self.read(x, y, level, width, height), size)

    def close(self) -> None:
        """Release the file."""
