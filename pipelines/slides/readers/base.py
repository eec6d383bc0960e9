"""The interface of all readers of slide files."""

from __future__ import annotations

import struct
import zlib
from typing import Protocol

from pipelines.slides.mpp import RecordedMpp
from pipelines.slides.pixels import Rgb, resampled

DAMAGED = "the file may be damaged or incomplete: copy it again, or leave the slide out"
"""Hint of errors about unreadable data."""

TIFFFILE_ERRORS = (
    *(ArithmeticError, AttributeError, AssertionError, LookupError, MemoryError, OSError, RuntimeError, TypeError),
    *(ValueError, struct.error, zlib.error),
)
"""What tifffile and its decoders raise for damaged files; `tifffile.TiffFileError` is one of them."""


class Reader(Protocol):
    """One open slide file. Label and macro images are deliberately not accessible."""

    vendor: str
    """OpenSlide's name of the format, ``ome-tiff``, or ``image`` for a plain image."""
    level_dimensions: tuple[tuple[int, int], ...]
    """Width and height of each level, pixels; level 0 is the largest."""
    level_downsamples: tuple[float, ...]
    """Level-0 pixels per pixel of each level."""
    recorded_mpp: tuple[RecordedMpp, ...]
    """Microns per pixel that the file records, most reliable source first."""

    def read(self, x: int, y: int, level: int, width: int, height: int) -> Rgb:
        """Return ``width`` x ``height`` pixels of ``level`` from (x, y) in level-0 pixels; white outside the slide."""

    def read_scaled(self, x: int, y: int, level: int, width: int, height: int, size: tuple[int, int]) -> Rgb:
        """Return the region of `read` resampled once to ``size`` (width, height) pixels."""
        return resampled(self.read(x, y, level, width, height), size)

    def close(self) -> None:
        """Release the file."""
