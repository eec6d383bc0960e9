"""The fast reader: pixels of tiled JPEG and JPEG 2000 TIFF slides, decoded without OpenSlide.

Per tile, OpenSlide spends several times more on drawing than on decoding. Here the stored
tiles are decoded into place, and directly at half or quarter size where a tile is wanted
that much smaller. OpenSlide remains the reference: it opens every slide, gives its levels
and metadata, checks this reader's pixels, and reads whatever is not stored in the usual way.
"""

from __future__ import annotations

import math
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from pipelines.core.errors import SettingsError, SlideError
from pipelines.slides.pixels import Rgb, resampled
from pipelines.slides.readers.base import DAMAGED, Reader
from pipelines.slides.readers.stored_tiles import StoredLevel, stored_levels

READER_VARIABLE = "FIVE_READER"
"""Environment variable: ``auto`` or ``openslide``."""
VENDORS = ("aperio", "generic-tiff")
"""OpenSlide's names of the formats whose levels are plain grids of tiles."""
CACHE_BYTES = 24 * 2**20
"""Decoded tiles kept for each open slide, so that tiles off the stored grid decode each stored tile once."""
LEAST_SHIFT = 1 / 64
"""Positions this near to a whole pixel of a level are taken for it."""
AGREEMENT = 1.0
"""Mean difference from OpenSlide, grey levels, up to which a slide is read here."""

Key = tuple[int, int, int]
"""Level, number of the stored tile, reduction."""


def fast_reader(path: Path, reference: Reader) -> Reader:
    """Return a fast reader of the slide that ``reference`` has open, or ``reference`` where it has to read.

    The middle tile of each level is read both ways; a slide whose pixels differ is left to
    OpenSlide. The environment variable ``FIVE_READER=openslide`` leaves every slide to it
    (``auto`` is the default). That is a choice of speed and no setting: pixels are the same,
    or for tiles decoded at reduced size, within two grey levels on average.

    Raises
    ------
    SettingsError
        ``FIVE_READER`` is neither.
    """
    choice = os.environ.get(READER_VARIABLE, "auto")
    if choice not in ("auto", "openslide"):
        raise SettingsError(f"{READER_VARIABLE} is {choice!r}", hint="set it to auto or openslide, or leave it out")
    if choice == "openslide" or reference.vendor not in VENDORS:
        return reference
    levels = stored_levels(path, reference.level_dimensions)
    if levels is None:
        return reference
    fast = TiffReader(path, reference, levels)
    if fast.agrees_with(reference):
        reference.close()
        return fast
    fast.close()
    return reference


class TiffReader(Reader):
    """A slide whose levels are grids of compressed tiles. May be shared by threads."""

    def __init__(self, path: Path, reference: Reader, levels: Sequence[StoredLevel]) -> None:
        self._path = path
        self._levels = levels
        self.vendor = reference.vendor
        self.level_dimensions = reference.level_dimensions
        self.level_downsamples = reference.level_downsamples
        self.recorded_mpp = reference.recorded_mpp
        self._file = path.open("rb", buffering=0)
        self._reading = threading.Lock()
        self._cache = TileCache(CACHE_BYTES)

    def agrees_with(self, reference: Reader) -> bool:
        """Tell whether the middle tile of every level looks as ``reference`` reads it."""
        for number, level in enumerate(self._levels):
            column, row = level.width // 2 // level.tile_width, level.height // 2 // level.tile_height
            scale = self.level_downsamples[number]
            x, y = round(column * level.tile_width * scale), round(row * level.tile_height * scale)
            area = (x, y, number, min(level.width, level.tile_width), min(level.height, level.tile_height))
            try:
                difference = cv2.absdiff(self.read(*area), reference.read(*area))
            except SlideError:
                return False
            if float(difference.mean()) > AGREEMENT:
                return False
        return True

    def read(self, x: int, y: int, level: int, width: int, height: int) -> Rgb:
        """Return the region, white outside; between pixels of the level it is interpolated, as OpenSlide does."""
        (left, shift_x), (top, shift_y) = self._on_level(x, level), self._on_level(y, level)
        more = 1 if shift_x or shift_y else 0
        region = self._region(x, y, level, 1, (left, top, width + more, height + more))
        if not more:
            return region
        matrix = np.array([[1, 0, shift_x], [0, 1, shift_y]], np.float64)
        shifted: Rgb = cv2.warpAffine(region, matrix, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        return shifted

    def read_scaled(self, x: int, y: int, level: int, width: int, height: int, size: tuple[int, int]) -> Rgb:
        """Return the region as ``size``, from tiles decoded at reduced size where its edges allow that."""
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
        """Close the file and let the decoded tiles go."""
        self._file.close()
        self._cache = TileCache(CACHE_BYTES)

    def _on_level(self, position: int, level: int) -> tuple[int, float]:
        """Return the pixel of ``level`` at a level-0 position, and how far beyond it the position lies."""
        exact = position / self.level_downsamples[level]
        pixel = math.floor(exact + LEAST_SHIFT)
        shift = exact - pixel
        return pixel, shift if shift > LEAST_SHIFT else 0.0

    def _region(self, x: int, y: int, level: int, reduction: int, area: tuple[int, int, int, int]) -> Rgb:
        """Return ``area`` (left, top, width, height) of the reduced level; (x, y) is named in errors."""
        left, top, width, height = area
        stored = self._levels[level]
        inside = min(left, top) >= 0 and left + width <= stored.width // reduction
        inside = inside and top + height <= stored.height // reduction
        out = np.empty((height, width, 3), np.uint8) if inside else np.full((height, width, 3), 255, np.uint8)
        try:
            for number, tile_left, tile_top in _tiles_under(stored, reduction, area):
                tile = self._tile((level, number, reduction))
                _paste(out, tile, tile_left - left, tile_top - top)
        except (OSError, ValueError) as error:
            raise SlideError(f"{self._path}: unreadable at x={x}, y={y}: {error}", hint=DAMAGED) from error
        return out

    def _tile(self, key: Key) -> Rgb:
        """Return a decoded tile, without the part beyond the image."""
        tile = self._cache.get(key)
        if tile is not None:
            return tile
        number, index, reduction = key
        level = self._levels[number]
        tile = level.codec.decode(self._compressed(level.offsets[index], level.counts[index]), reduction)
        row, column = divmod(index, level.columns)
        height = (level.height - row * level.tile_height) // reduction
        width = (level.width - column * level.tile_width) // reduction
        return self._cache.keep(key, tile[:height, :width])

    def _compressed(self, offset: int, count: int) -> bytes:
        if hasattr(os, "pread"):
            data = os.pread(self._file.fileno(), count, offset)
        else:  # Windows
            with self._reading:
                self._file.seek(offset)
                data = self._file.read(count)
        if len(data) < count:
            raise ValueError("the file ends before this tile does")
        return data


class TileCache:
    """The tiles used last, up to a number of bytes."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._bytes = 0
        self._tiles: OrderedDict[Key, Rgb] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Key) -> Rgb | None:
        """Return a kept tile and count it as used."""
        with self._lock:
            if key in self._tiles:
                self._tiles.move_to_end(key)
            return self._tiles.get(key)

    def keep(self, key: Key, tile: Rgb) -> Rgb:
        """Keep ``tile``, drop what was not used for longest, and return the tile."""
        with self._lock:
            if key not in self._tiles:
                self._tiles[key] = tile
                self._bytes += tile.nbytes
            while self._bytes > self._capacity:
                self._bytes -= self._tiles.popitem(last=False)[1].nbytes
        return tile


def _tiles_under(level: StoredLevel, reduction: int, area: tuple[int, int, int, int]) -> Iterator[tuple[int, int, int]]:
    """Yield number, left and top of the stored tiles that meet ``area``, in reduced pixels."""
    left, top, width, height = area
    tile_width, tile_height = level.tile_width // reduction, level.tile_height // reduction
    right = min(left + width, level.width // reduction)
    bottom = min(top + height, level.height // reduction)
    for row in range(max(0, top) // tile_height, math.ceil(max(0, bottom) / tile_height)):
        for column in range(max(0, left) // tile_width, math.ceil(max(0, right) / tile_width)):
            yield row * level.columns + column, column * tile_width, row * tile_height


def _paste(out: Rgb, tile: Rgb, x: int, y: int) -> None:
    """Copy the part of ``tile`` that lies within ``out`` when its corner is at (x, y) of it."""
    left, top = max(0, x), max(0, y)
    part = tile[top - y : out.shape[0] - y, left - x : out.shape[1] - x]
    out[top : top + part.shape[0], left : left + part.shape[1]] = part
