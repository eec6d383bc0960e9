"""Read the tiles of each slide once and write all outputs made from them: features of encoders, tile images."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipelines.core.batch import Outcome, Result, Work
from pipelines.core.batch.on_devices import Items
from pipelines.core.errors import FiveError, SlideError
from pipelines.core.prefetch import Waiting
from pipelines.core.tiled_slide import TiledSlide
from pipelines.slides.local_copies import local_copies
from pipelines.slides.tile_stream import SlideTiles, TileStream, tiles_to_read


class TileWriter(Protocol):
    """Writes an output for the tiles of one slide."""

    def add(self, pixels: NDArray[np.uint8], coords: NDArray[np.int64]) -> None:
        """Write a batch: pixels (B, S, S, 3), RGB, and top-left corners (B, 2), level-0 pixels."""

    def finish(self, read_stats: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the row to record for the slide, empty if there is none.

        Parameters
        ----------
        read_stats
            ``n_unreadable`` tiles, ``read_seconds`` spent waiting for pixels, and ``seconds`` in total.
        """


class LoadedOutput(Protocol):
    """An output that is ready to be written."""

    @property
    def name(self) -> str:
        """Name that distinguishes the output from the others."""

    def is_current(self, slide: TiledSlide) -> bool:
        """Return whether the output for ``slide`` exists and is up to date."""

    def writing(self, slide: TiledSlide, row: Mapping[str, Any], n_tiles: int) -> AbstractContextManager[TileWriter]:
        """Return the writer for ``slide``; its file appears when the block ends without an error."""


class Output(Protocol):
    """Something made from the pixels of tiles: features of an encoder, or tile images."""

    def claim(self) -> None:
        """Record the settings in the output folder."""

    def is_current(self, slide: TiledSlide) -> bool:
        """Return whether the output for ``slide`` exists and is up to date."""

    def load(self, device: str) -> LoadedOutput:
        """Load what is needed for writing onto ``device``."""


@dataclass(frozen=True)
class ReadOptions:
    """How tiles are read."""

    batch_size: int
    threads: int
    """Threads that read tiles ahead."""
    stage_dir: Path | None = None
    """Local folder for copies of slides on slow storage."""


@dataclass(frozen=True)
class TilePass:
    """Writes ``outputs`` for slides on a device; the ``start`` argument of `OnDevices`."""

    outputs: Sequence[Output]
    options: ReadOptions

    @contextmanager
    def __call__(self, device: str, items: Items) -> Iterator[Work]:
        """Load the outputs and yield the work on one slide (`TiledSlide`); pixels are read ahead."""
        outputs = [output.load(device) for output in self.outputs]
        for output in self.outputs:  # after loading: an output that fails to load leaves no files
            output.claim()

        def to_read(number: int) -> SlideTiles | None:
            slide: TiledSlide = items[number]
            try:
                return None if all(output.is_current(slide) for output in outputs) else tiles_to_read(slide.table)[0]
            except FiveError:
                return None  # raised again when the slide is processed

        options = self.options
        with local_copies(options.stage_dir) as copies, ThreadPoolExecutor(1, thread_name_prefix="copy") as copier:

            def copy_ahead(number: int) -> None:
                with suppress(IndexError):  # there is no further slide
                    tiles = to_read(number) if options.stage_dir else None
                    if tiles is not None:
                        # errors are ignored here; they occur again when the copy is read
                        copier.submit(copies.fetch, tiles.path, tiles.slide_id)

            with TileStream(to_read, batch_size=options.batch_size, threads=options.threads, copies=copies) as stream:
                yield _SlideWork(outputs, stream, items, copy_ahead, copies.drop)


@dataclass
class _SlideWork:
    """Writes the outputs for one slide after another, in the order of ``items``."""

    outputs: Sequence[LoadedOutput]
    stream: TileStream
    items: Items
    copy_ahead: Callable[[int], None]
    drop_copy: Callable[[str], None]
    number: int = 0

    def __call__(self, slide: TiledSlide) -> Result:
        while self.items[self.number].slide_id != slide.slide_id:  # slides locked by another process are skipped
            self.number += 1
        todo = [output for output in self.outputs if not output.is_current(slide)]
        if not todo:
            return Result(slide.slide_id, Outcome.KEPT)
        started = time.perf_counter()
        tiles, row = tiles_to_read(slide.table)
        n_tiles, n_unreadable, waiting = len(tiles.coords), 0, Waiting()
        self.copy_ahead(self.number + 1)
        with ExitStack() as stack:
            stack.callback(self.drop_copy, slide.slide_id)
            writers = {output.name: stack.enter_context(output.writing(slide, row, n_tiles)) for output in todo}
            for batch in waiting.over(self.stream.batches(self.number)):
                n_unreadable += batch.n_unreadable
                for writer in writers.values():
                    writer.add(batch.pixels, batch.coords)
            if n_tiles and n_unreadable == n_tiles:
                raise SlideError(
                    f"{slide.slide_id}: none of its {n_tiles} tiles can be read",
                    hint="the slide file may be damaged or incomplete: copy it again",
                )
            seconds = time.perf_counter() - started
            read_stats = {"n_unreadable": n_unreadable, "read_seconds": waiting.waited, "seconds": seconds}
            rows = {name: output_row for name, writer in writers.items() if (output_row := writer.finish(read_stats))}
        return Result(slide.slide_id, Outcome.DONE if n_tiles else Outcome.EMPTY, rows=rows)
