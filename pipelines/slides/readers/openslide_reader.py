"""Reader of slides with OpenSlide."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import openslide

from pipelines.core.errors import SlideError
from pipelines.slides.mpp import RecordedMpp
from pipelines.slides.pixels import Rgb, over_white
from pipelines.slides.readers.base import DAMAGED, Reader

MICRONS_PER_UNIT = {"inch": 25_400.0, "centimeter": 10_000.0}
"""Units of TIFF resolution tags, as OpenSlide names them."""


class OpenSlideReader(Reader):
    """A slide that OpenSlide opens.

    A failed read makes an OpenSlide handle unusable. The handle is then closed, and the next
    read opens a new one, so an unreadable region does not affect the others.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: openslide.OpenSlide | None = openslide.OpenSlide(path)
        self.vendor = str(self._handle.properties.get("openslide.vendor", "unknown"))
        self.level_dimensions = tuple(self._handle.level_dimensions)
        self.level_downsamples = tuple(self._handle.level_downsamples)
        self.recorded_mpp = tuple(openslide_mpp(self._handle.properties))

    def read(self, x: int, y: int, level: int, width: int, height: int) -> Rgb:
        """Return the region over white (slides are transparent where nothing was scanned)."""
        try:
            if self._handle is None:
                self._handle = openslide.OpenSlide(self._path)
            rgba = np.asarray(self._handle.read_region((x, y), level, (width, height)))
        except openslide.OpenSlideError as error:
            self.close()
            raise SlideError(f"{self._path}: unreadable at x={x}, y={y}: {error}", hint=DAMAGED) from error
        return over_white(rgba)

    def close(self) -> None:
        """Close the handle if it is open."""
        if self._handle is not None:
            self._handle.close()
            self._handle = None


def openslide_mpp(properties: Mapping[str, str]) -> list[RecordedMpp]:
    """Return the microns per pixel in OpenSlide's properties: first the vendor's metadata, then TIFF tags.

    For a generic TIFF, OpenSlide computes its mpp from the TIFF tags, so that value counts as a tag.
    """
    recorded = []
    x, y = _positive(properties, "openslide.mpp-x"), _positive(properties, "openslide.mpp-y")
    if x and y and properties.get("openslide.vendor") != "generic-tiff":
        recorded.append(RecordedMpp("metadata", x, y))
    unit = MICRONS_PER_UNIT.get(properties.get("tiff.ResolutionUnit", ""), 0.0)
    x, y = _positive(properties, "tiff.XResolution"), _positive(properties, "tiff.YResolution")
    if x and y and unit:
        recorded.append(RecordedMpp("tiff-tags", unit / x, unit / y))
    return recorded


def _positive(properties: Mapping[str, str], name: str) -> float | None:
    try:
        value = float(properties.get(name, ""))
    except ValueError:
        return None
    return value if 0 < value < float("inf") else None
