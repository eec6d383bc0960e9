"""Reading ahead: every tile of the slide that is asked for, in whatever order slides are asked for."""

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
    """Return what to read of three slides; tile k of slide s is of the grey level 10 s + k."""
    found = []
    for number in range(3):
        row = np.repeat(10 * number + np.arange(N_TILES, dtype=np.uint8), SIZE)
        rgb = np.broadcast_to(row[None, :, None], (SIZE, N_TILES * SIZE, 3)).copy()
        path = write_lossless_slide(tmp_path / f"{number}.tif", rgb, 0.5)
        coords = np.stack([SIZE * np.arange(N_TILES), np.zeros(N_TILES)], axis=1).astype(np.int64)
        found.append(SlideTiles(path.stem, path, coords, SIZE, SIZE))
    return found


def stream_of(slides, batch_size=4, threads=2):
    return TileStream(slides.__getitem__, batch_size=batch_size, threads=threads)


def greys(batches):
    return [int(tile[0, 0, 0]) for batch in batches for tile in batch.pixels]


def expected(number):
    return [10 * number + tile for tile in range(N_TILES)]


@pytest.mark.parametrize(
    "order", [(0, 1, 2), (2, 1, 0), (0, 2, 1), (1, 1)], ids=["in order", "backwards", "one held back", "twice"]
)
def test_a_slide_gives_its_own_tiles_in_whatever_order_slides_are_asked_for(slides, order):
    with stream_of(slides) as stream:
        assert [greys(stream.batches(number)) for number in order] == [expected(number) for number in order]


def test_a_slide_left_half_read_does_not_disturb_the_next(slides):
    with stream_of(slides) as stream:
        next(stream.batches(0))
        assert greys(stream.batches(1)) == expected(1)


def test_a_slide_without_tiles_to_read_gives_none_and_the_next_its_own(slides):
    with stream_of([slides[0], None, slides[2]]) as stream:
        found = [greys(stream.batches(number)) for number in range(3)]
    assert found == [expected(0), [], expected(2)]


def test_a_slide_that_comes_to_be_known_later_is_read_when_it_is_asked_for(slides):
    """As in a process that takes slides from a shared queue: what is next may not be known yet."""
    known = slides[:1]
    with stream_of(known) as stream:
        assert greys(stream.batches(0)) == expected(0)
        known.append(slides[1])
        assert greys(stream.batches(1)) == expected(1)


def test_batches_are_of_the_size_asked_for_and_know_their_corners(slides):
    with stream_of(slides, batch_size=4) as stream:
        batches = list(stream.batches(0))
    assert [len(batch.pixels) for batch in batches] == [4, 4, 1]
    assert np.array_equal(np.concatenate([batch.coords for batch in batches]), slides[0].coords)


def test_a_slide_that_cannot_be_opened_fails_alone(slides):
    slides[1].path.write_bytes(b"no slide")
    with stream_of(slides) as stream:
        assert greys(stream.batches(0)) == expected(0)
        with pytest.raises(SlideError, match=r"1\.tif"):
            list(stream.batches(1))
        assert greys(stream.batches(2)) == expected(2)


def test_reading_runs_ahead_but_only_so_far(slides, monkeypatch):
    begun, two = [], threading.Semaphore(0)

    def read(self, job):
        begun.append(job.rows.start)
        two.release()
        return original(self, job)

    original = TileStream._read
    monkeypatch.setattr(TileStream, "_read", read)
    with stream_of(slides, batch_size=1, threads=2) as stream:
        next(stream.batches(0))
        assert two.acquire(timeout=10)
        assert two.acquire(timeout=10)  # a batch that nobody has asked for yet
    assert len(begun) <= 5  # threads + 2 wait, and one was handed over
