"""Cache of decoded tiles."""

from __future__ import annotations

import threading
from collections import OrderedDict

from pipelines.slides.pixels import Rgb

TileKey = tuple[int, int, int]
"""Level, index of the stored tile, reduction."""


class TileCache:
    """The most recently used tiles, up to ``capacity`` bytes. Safe to share between threads."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._bytes = 0
        self._tiles: OrderedDict[TileKey, Rgb] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: TileKey) -> Rgb | None:
        """Return a cached tile and mark it as used, or None if it is not cached."""
        with self._lock:
            if key in self._tiles:
                self._tiles.move_to_end(key)
            return self._tiles.get(key)

    def add(self, key: TileKey, tile: Rgb) -> Rgb:
        """Add ``tile``, drop the least recently used tiles that exceed the capacity, and return ``tile``."""
        with self._lock:
            if key not in self._tiles:
                self._tiles[key] = tile
                self._bytes += tile.nbytes
            while self._bytes > self._capacity:
                self._bytes -= self._tiles.popitem(last=False)[1].nbytes
        return tile
