"""Read the tiles of many slides ahead in threads, so that an encoder does not wait for pixels."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.core.errors import SlideError
from pipelines.core.prefetch import prefetch
from pipelines.core.schemas import TILES
from pipelines.core.tiled_slide import tiled_row
from pipelines.slides.local_copies import IN_PLACE, LocalCopies
from pipelines.slides.slide import Slide, open_slide
from pipelines.slides.slide_files import refuse_changed


@dataclass(frozen=True)
class SlideTiles:
    """The tiles to read from one slide."""

    slide_id: str
    path: Path
    coords: NDArray[np.int64]
    """(N, 2), x then y of the top-left corners, level-0 pixels."""
    size_level0: int
    """Edge of a tile, level-0 pixels."""
    tile_size: int
    """Edge of a tile as it is returned, pixels."""


def kept_tiles(table: Path) -> tuple[SlideTiles, dict[str, Any]]:
    """Return the kept tiles of a tile table, and the slide's row of `TILED_SLIDES` that the table contains.

    Raises
    ------
    ArtifactError
        The table is missing or damaged, or contains no row.
    """
    tiles, row = TILES.read(table, columns=["x", "y", "keep"]), tiled_row(table)
    kept = tiles.filter(tiles["keep"])
    coords = np.stack([kept["x"].to_numpy(), kept["y"].to_numpy()], axis=1).astype(np.int64)
    size_level0, tile_size = row["tile_size_level0"] or 0, row["tile_size"] or 0
    return SlideTiles(row["slide_id"], Path(row["path"]), coords, size_level0, tile_size), row


def tiles_to_read(table: Path) -> tuple[SlideTiles, dict[str, Any]]:
    """Return the same as `kept_tiles`, after checking that the slide is the one that was tiled.

    Raises
    ------
    ArtifactError
        See `kept_tiles`.
    SlideError
        The slide has changed, or cannot be read.
    """
    tiles, row = kept_tiles(table)
    refuse_changed(tiles.path, row["slide_fingerprint"])
    return tiles, row


@dataclass(frozen=True)
class TileBatch:
    """Pixels of some tiles of one slide, without the unreadable tiles."""

    pixels: NDArray[np.uint8]
    """(B, S, S, 3), RGB."""
    coords: NDArray[np.int64]
    """(B, 2), as in `SlideTiles`."""
    n_unreadable: int = 0
    """Number of tiles left out because they are unreadable."""
    error: Exception | None = None
    """Error that occurred when the slide was opened."""


@dataclass(frozen=True)
class _Job:
    number: int
    """Number of the slide."""
    slide: SlideTiles
    rows: slice
    """Tiles of the batch."""


@dataclass(frozen=True)
class _Read:
    number: int
    """Number of the slide."""
    batch: TileBatch


class TileStream:
    """Reads tiles ahead, continuing with the next slide while the current one is being used.

    Every thread opens a slide separately. At most ``threads + 2`` batches are in memory.
    Use it as a context manager.

    Parameters
    ----------
    slides
        Returns the tiles to read from the slide with a given number, or None if there is nothing to read.
        Raises IndexError if there is no such slide (yet). Called shortly before the slide is read.
    copies
        Local copies, which are read instead of the slides.
    """

    def __init__(
        self,
        slides: Callable[[int], SlideTiles | None],
        *,
        batch_size: int,
        threads: int,
        copies: LocalCopies = IN_PLACE,
    ) -> None:
        self._slides, self._batch_size, self._threads, self._copies = slides, batch_size, threads, copies
        self._handles = threading.local()
        self._opened: list[Slide] = []
        self._stream: Generator[_Read, None, None] | None = None
        self._head: _Read | None = None

    def __enter__(self) -> TileStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def batches(self, number: int) -> Iterator[TileBatch]:
        """Yield the batches of slide ``number``.

        This is fastest if slides are requested in order; any other order restarts the reading ahead.

        Raises
        ------
        SlideError
            The slide cannot be opened.
        """
        if self._head is None or self._head.number != number:
            self._start(number)
        while self._head is not None and self._head.number == number:
            batch = self._head.batch
            if batch.error is not None:
                raise batch.error
            yield batch
            self._head = next(self._stream, None) if self._stream else None

    def _start(self, number: int) -> None:
        self._stop()
        self._stream = prefetch(self._read, self._jobs(number), threads=self._threads, ahead=self._threads + 2)
        self._head = next(self._stream, None)

    def _stop(self) -> None:
        if self._stream is not None:
            self._stream.close()
        for slide in self._opened:
            slide.close()
        self._opened.clear()
        self._handles = threading.local()
        self._stream = self._head = None

    def _jobs(self, first: int) -> Iterator[_Job]:
        for number in itertools.count(first):
            try:
                slide = self._slides(number)
            except IndexError:
                return
            if slide is not None:
                for start in range(0, len(slide.coords), self._batch_size):
                    yield _Job(number, slide, slice(start, start + self._batch_size))

    def _read(self, job: _Job) -> _Read:
        slide, coords = job.slide, job.slide.coords[job.rows]
        size = slide.tile_size
        pixels = np.empty((len(coords), size, size, 3), np.uint8)
        readable = np.ones(len(coords), bool)
        try:
            handle = self._handle(slide)
        except SlideError as error:
            return _Read(job.number, TileBatch(pixels[:0], coords[:0], len(coords), error))
        for row, (x, y) in enumerate(coords.tolist()):
            try:
                pixels[row] = handle.read_tile(x, y, slide.size_level0, size)
            except SlideError:
                readable[row] = False
        if readable.all():
            return _Read(job.number, TileBatch(pixels, coords))
        return _Read(job.number, TileBatch(pixels[readable], coords[readable], int((~readable).sum())))

    def _handle(self, slide: SlideTiles) -> Slide:
        """Return ``slide`` as opened by this thread, which first closes its previous slide."""
        current: tuple[str, Slide] | None = getattr(self._handles, "slide", None)
        if current is not None and current[0] == slide.slide_id:
            return current[1]
        if current is not None:
            current[1].close()
            self._opened.remove(current[1])
            self._handles.slide = None
        with self._copies.local(slide.path, slide.slide_id) as copy:
            opened = open_slide(copy)
        self._handles.slide = slide.slide_id, opened
        self._opened.append(opened)
        return opened
