"""Tiles of many slides, read ahead by threads, so that an encoder does not wait for pixels."""

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
    """Edge of a tile as it is delivered, pixels."""


def kept_tiles(table: Path) -> tuple[SlideTiles, dict[str, Any]]:
    """Return the kept tiles of a tile table, and the slide's row of ``tiled_slides`` that it carries.

    Raises
    ------
    ArtifactError
        The table is missing, damaged, or carries no row.
    """
    tiles, row = TILES.read(table, columns=["x", "y", "keep"]), tiled_row(table)
    kept = tiles.filter(tiles["keep"])
    coords = np.stack([kept["x"].to_numpy(), kept["y"].to_numpy()], axis=1).astype(np.int64)
    size_level0, tile_size = row["tile_size_level0"] or 0, row["tile_size"] or 0
    return SlideTiles(row["slide_id"], Path(row["path"]), coords, size_level0, tile_size), row


@dataclass(frozen=True)
class TileBatch:
    """Some tiles of one slide as pixels, without those that could not be read."""

    pixels: NDArray[np.uint8]
    """(B, S, S, 3), RGB."""
    coords: NDArray[np.int64]
    """(B, 2), as in `SlideTiles`."""
    n_unreadable: int = 0
    error: Exception | None = None
    """Why the slide as a whole could not be read."""


@dataclass(frozen=True)
class _Job:
    number: int
    """Of the slide."""
    slide: SlideTiles
    rows: slice


@dataclass(frozen=True)
class _Read:
    number: int
    batch: TileBatch


class TileStream:
    """Reads the tiles of slides ahead of their use, across the border from one slide to the next.

    Every thread has its own handle on a slide. Memory is bounded by ``threads + 2``
    batches, whatever the slides. Use it as a context manager.

    Parameters
    ----------
    slides
        Gives by number what to read of a slide, or None where nothing needs reading; raises
        IndexError where there is no further slide (yet). Called when a slide's turn comes near.
    stage
        Makes copies of slides, which are read in their place.
    """

    def __init__(
        self,
        slides: Callable[[int], SlideTiles | None],
        *,
        batch_size: int,
        threads: int,
        stage: LocalCopies = IN_PLACE,
    ) -> None:
        self._slides, self._batch_size, self._threads, self._stage = slides, batch_size, threads, stage
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

        Fastest when the slides are asked for in order; otherwise reading starts anew there.

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
        """Return this thread's handle on ``slide``; the one on its earlier slide is closed."""
        mine: tuple[str, Slide] | None = getattr(self._handles, "slide", None)
        if mine is not None and mine[0] == slide.slide_id:
            return mine[1]
        if mine is not None:
            mine[1].close()
            self._opened.remove(mine[1])
            self._handles.slide = None
        with self._stage.local(slide.path, slide.slide_id) as copy:
            opened = open_slide(copy)
        self._handles.slide = slide.slide_id, opened
        self._opened.append(opened)
        return opened
