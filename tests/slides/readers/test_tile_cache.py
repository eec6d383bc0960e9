"""The tile cache keeps the most recently used tiles."""

import numpy as np

from pipelines.slides.readers.tile_cache import TileCache


def test_the_least_recently_used_tile_is_dropped():
    cache = TileCache(3 * 12)
    tile = np.zeros((2, 2, 3), np.uint8)  # 12 bytes
    for index in (1, 2, 3):
        cache.add((0, index, 1), tile)
    cache.get((0, 1, 1))
    cache.add((0, 4, 1), tile)
    assert [cache.get((0, index, 1)) is not None for index in (1, 2, 3, 4)] == [True, False, True, True]
