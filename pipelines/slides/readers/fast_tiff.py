"""Fast reader of tiled JPEG and JPEG 2000 TIFF slides, which decodes tiles without OpenSlide.

OpenSlide spends several times more time per tile on drawing than on decoding. This reader decodes
the stored tiles straight into the result, at half or a quarter of their size if the result is that
much smaller. OpenSlide remains the reference: it opens every slide, provides levels and metadata,
checks the pixels of this reader, and reads every slide that is stored in another way.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from pipelines.core.errors import SettingsError, SlideError
from pipelines.slides.pixels import Rgb, resampled
from pipelines.slides.readers.base import DAMAGED, Reader
from pipelines.slides.readers.stored_tiles import StoredLevel, stored_levels
from pipelines.slides.readers.tile_cache import TileCache, TileKey

READER_VARIABLE = "FIVE_READER"
"""Environment variable: ``auto`` or ``openslide``."""
VENDORS = ("aperio", "generic-tiff")
"""OpenSlide's names of the formats whose levels are plain grids of tiles."""
CACHE_BYTES = 24 * 2**20
"""Decoded tiles cached per open slide, so that regions off the stored grid decode each stored tile only once."""
MIN_SHIFT = 1 / 64
"""Positions closer than this to a whole pixel of a level are rounded to it."""
MAX_DIFFERENCE = 1.0
"""Maximum mean difference from OpenSlide, gray levels, for a slide to be read by this reader."""


def fast_reader(path: Path, reference: Reader) -> Reader:
    """Return a fast reader of the slide that ``reference`` has open, or ``reference`` if there is none.

    The middle tile of each level is read with both readers; if the pixels differ, ``reference`` is
    returned. The environment variable ``FIVE_READER=openslide`` always returns it (default: ``auto``).
    The variable only affects speed and is not a setting: pixels are the same, or within two gray
    levels on average for tiles decoded at reduced size.

    Raises
    ------
    SettingsError
        ``FIVE_READER`` has another value.
    """
    choice = os.environ.get(READER_VARIABLE, "auto")
    if choice not in ("auto", "openslide"):
        raise SettingsError(f"{READER_VARIABLE} is {choice!r}", hint="set it to auto or openslide, or unset it")
    if choice == "openslide" or reference.vendor not in VENDORS:
        return reference
    levels = stored_levels(path, reference.level_dimensions)
    if levels is None:
        return reference
    fast = FastTiffReader(path, reference, levels)
    if fast.agrees_with(reference):
        reference.close()
        return fast
    fast.close()
    return reference


class FastTiffReader(Reader):
    """A slide whose levels are grids of compressed tiles. Safe to share between threads."""

    def __init__(self, path: Path, reference: Reader, levels: Sequence[StoredLevel]) -> None:
        self._path = path
        self._levels = levels
        self.vendor = reference.vendor
        self.level_dimensions = reference.level_dimensions
        self.level_downsamples = reference.level_downsamples
        self.recorded_mpp = reference.recorded_mpp
        self._file = path.open("rb", buffering=0)
        self._size = os.fstat(self._file.fileno()).st_size
        self._file_lock = threading.Lock()
        self._cache = TileCache(CACHE_BYTES)

    def agrees_with(self, reference: Reader) -> bool:
        """Return whether the middle tile of every level has the same pixels as in ``reference``."""
        for number, level in enumerate(self._levels):
            column, row = level.width // 2 // level.tile_width, level.height // 2 // level.tile_height
            scale = self.level_downsamples[number]
            x, y = round(column * level.tile_width * scale), round(row * level.tile_height * scale)
            area = (x, y, number, min(level.width, level.tile_width), min(level.height, level.tile_height))
            try:
                difference = cv2.absdiff(self.read(*area), reference.read(*area))
            except SlideError:
                return False
            if float(difference.mean()) > MAX_DIFFERENCE:
                return False
        return True

    def read(self, x: int, y: int, level: int, width: int, height: int) -> Rgb:
        """Return the region, white outside the slide; positions between pixels are interpolated, as in OpenSlide."""
        (left, shift_x), (top, shift_y) = self._on_level(x, level), self._on_level(y, level)
        margin = 1 if shift_x or shift_y else 0
        region = self._region(x, y, level, 1, (left, top, width + margin, height + margin))
        if not margin:
            return region
        matrix = np.array([[1, 0, shift_x], [0, 1, shift_y]], np.float64)
        shifted: Rgb = cv2.warpAffine(region, matrix, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        return shifted

    def read_scaled(self, x: int, y: int, level: int, width: int, height: int, size: tuple[int, int]) -> Rgb:
        """Return the region as ``size`` pixels, from tiles decoded at reduced size if its edges are aligned to that."""
        (left, shift_x), (top, shift_y) = self._on_level(x, level), self._on_level(y, level)
        stored = self._levels[level]
        inside = min(left, top) >= 0 and left + width <= stored.width and top + height <= stored.height
        for reduction in stored.codec.reductions:
            small_enough = size[0] * reduction <= width and size[1] * reduction <= height
            aligned = not any(edge % reduction for edge in (left, top, width, height))
            if reduction > 1 and inside and small_enough and aligned and not (shift_x or shift_y):
                area = (left // reduction, top // reduction, width // reduction, height // reduction)
                return resampled(self._region(x, y, level, reduction, area), size)
        return resampled(self.read(x, y, level, width, height), size)

    def close(self) -> None:
        """Close the file and free the cached tiles."""
        self._file.close()
        self._cache = TileCache(CACHE_BYTES)

    def _on_level(self, position: int, level: int) -> tuple[int, float]:
        """Return the pixel of ``level`` at a level-0 position, and the distance of the position beyond that pixel."""
        exact = position / self.level_downsamples[level]
        pixel = math.floor(exact + MIN_SHIFT)
        shift = exact - pixel
        return pixel, shift if shift > MIN_SHIFT else 0.0

    def _region(self, x: int, y: int, level: int, reduction: int, area: tuple[int, int, int, int]) -> Rgb:
        """Return ``area`` (left, top, width, height) of the reduced level; errors mention (x, y)."""
        left, top, width, height = area
        stored = self._levels[level]
        inside = min(left, top) >= 0 and left + width <= stored.width // reduction
        inside = inside and top + height <= stored.height // reduction
        out = np.empty((height, width, 3), np.uint8) if inside else np.full((height, width, 3), 255, np.uint8)
        try:
            for index, tile_left, tile_top in _tiles_under(stored, reduction, area):
                tile = self._tile((level, index, reduction))
                _paste(out, tile, tile_left - left, tile_top - top)
        except (OSError, ValueError) as error:
            raise SlideError(f"{self._path}: unreadable at x={x}, y={y}: {error}", hint=DAMAGED) from error
        return out

    def _tile(self, key: TileKey) -> Rgb:
        """Return a decoded tile, without the part beyond the edge of the slide."""
        tile = self._cache.get(key)
        if tile is not None:
            return tile
        number, index, reduction = key
        level = self._levels[number]
        tile = level.codec.decode(self._compressed(level.offsets[index], level.byte_counts[index]), reduction)
        row, column = divmod(index, level.columns)
        height = (level.height - row * level.tile_height) // reduction
        width = (level.width - column * level.tile_width) // reduction
        return self._cache.add(key, tile[:height, :width])

    def _compressed(self, offset: int, count: int) -> bytes:
        if offset + count > self._size:
            raise ValueError("the file ends before the end of this tile")
        if hasattr(os, "pread"):
            data = os.pread(self._file.fileno(), count, offset)
        else:  # Windows
            with self._file_lock:
                self._file.seek(offset)
                data = self._file.read(count)
        if len(data) < count:
            raise ValueError("the file ends before the end of this tile")
        return data


def _tiles_under(level: StoredLevel, reduction: int, area: tuple[int, int, int, int]) -> Iterator[tuple[int, int, int]]:
    """Yield index, left and top of the stored tiles that overlap ``area``, in reduced pixels."""
    left, top, width, height = area
    tile_width, tile_height = level.tile_width // reduction, level.tile_height // reduction
    right = min(left + width, level.width // reduction)
    bottom = min(top + height, level.height // reduction)
    for row in range(max(0, top) // tile_height, math.ceil(max(0, bottom) / tile_height)):
        for column in range(max(0, left) // tile_width, math.ceil(max(0, right) / tile_width)):
            yield row * level.columns + column, column * tile_width, row * tile_height


def _paste(out: Rgb, tile: Rgb, x: int, y: int) -> None:
    """Copy ``tile``, whose top-left corner is at (x, y) of ``out``, into ``out``; parts outside are cut off."""
    left, top = max(0, x), max(0, y)
    part = tile[top - y : out.shape[0] - y, left - x : out.shape[1] - x]
    out[top : top + part.shape[0], left : left + part.shape[1]] = part
