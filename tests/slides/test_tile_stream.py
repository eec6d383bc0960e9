"""Reading ahead returns every tile of a requested slide, in any order of slides."""

import threading

import numpy as np
import pytest

from pipelines.core.errors import SlideError
from pipelines.slides.tile_stream import SlideTiles, TileStream
from tests.slide_files import write_lossless_slide

SIZE = 64
N_TILES = 9


@pytest.fixture
def slides(tmp_path):
    """Return the tiles to read from three slides; tile k of slide s has gray level 10 s + k."""
    tiles = []
    for number in range(3):
        row = np.repeat(10 * number + np.arange(N_TILES, dtype=np.uint8), SIZE)
        rgb = np.broadcast_to(row[None, :, None], (SIZE, N_TILES * SIZE, 3)).copy()
        path = write_lossless_slide(tmp_path / f"{number}.tif", rgb, 0.5)
        coords = np.stack([SIZE * np.arange(N_TILES), np.zeros(N_TILES)], axis=1).astype(np.int64)
        tiles.append(SlideTiles(path.stem, path, coords, SIZE, SIZE))
    return tiles


def stream_of(slides, batch_size=4, threads=2):
    return TileStream(slides.__getitem__, batch_size=batch_size, threads=threads)


def grays(batches):
    return [int(tile[0, 0, 0]) for batch in batches for tile in batch.pixels]


def expected(number):
    return [10 * number + tile for tile in range(N_TILES)]


@pytest.mark.parametrize(
    "order", [(0, 1, 2), (2, 1, 0), (0, 2, 1), (1, 1)], ids=["in order", "backwards", "one held back", "twice"]
)
def test_slides_can_be_requested_in_any_order(slides, order):
    with stream_of(slides) as stream:
        assert [grays(stream.batches(number)) for number in order] == [expected(number) for number in order]


def test_a_partly_read_slide_does_not_affect_the_next(slides):
    with stream_of(slides) as stream:
        next(stream.batches(0))
        assert grays(stream.batches(1)) == expected(1)


def test_a_slide_without_tiles_gives_no_batches(slides):
    with stream_of([slides[0], None, slides[2]]) as stream:
        grays_of_slides = [grays(stream.batches(number)) for number in range(3)]
    assert grays_of_slides == [expected(0), [], expected(2)]


def test_a_slide_that_becomes_known_later_is_read_when_requested(slides):
    """A process that takes slides from a shared queue may not know the next slide yet."""
    known = slides[:1]
    with stream_of(known) as stream:
        assert grays(stream.batches(0)) == expected(0)
        known.append(slides[1])
        assert grays(stream.batches(1)) == expected(1)


def test_batches_have_the_requested_size_and_their_corners(slides):
    with stream_of(slides, batch_size=4) as stream:
        batches = list(stream.batches(0))
    assert [len(batch.pixels) for batch in batches] == [4, 4, 1]
    assert np.array_equal(np.concatenate([batch.coords for batch in batches]), slides[0].coords)


def test_a_slide_that_cannot_be_opened_fails_alone(slides):
    slides[1].path.write_bytes(b"no slide")
    with stream_of(slides) as stream:
        assert grays(stream.batches(0)) == expected(0)
        with pytest.raises(SlideError, match=r"1\.tif"):
            list(stream.batches(1))
        assert grays(stream.batches(2)) == expected(2)


def test_reading_ahead_is_limited(slides, monkeypatch):
    begun, started = [], threading.Semaphore(0)

    def read(self, job):
        begun.append(job.rows.start)
        started.release()
        return original(self, job)

    original = TileStream._read
    monkeypatch.setattr(TileStream, "_read", read)
    with stream_of(slides, batch_size=1, threads=2) as stream:
        next(stream.batches(0))
        assert started.acquire(timeout=10)
        assert started.acquire(timeout=10)  # a batch that was not requested yet
    assert len(begun) <= 5  # threads + 2 are waiting, and one was returned
