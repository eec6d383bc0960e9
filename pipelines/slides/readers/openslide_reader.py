"""Slides that OpenSlide opens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openslide

from pipelines.core.errors import SlideError
from pipelines.slides.mpp import openslide_mpp
from pipelines.slides.pixels import Rgb, over_white
from pipelines.slides.readers.base import DAMAGED, Reader


class OpenSlideReader(Reader):
    """A slide that OpenSlide opens.

    A failed read leaves an OpenSlide handle unusable, so the handle is dropped then and
    opened again by the next read: one unreadable region costs only itself.
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
        """Close the handle, if one is open."""
        if self._handle is not None:
            self._handle.close()
            self._handle = None
