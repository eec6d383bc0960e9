"""One pass over the pixels of tiles for everything that is made of them: features of encoders, pictures."""

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
from pipelines.slides.local_copies import staging
from pipelines.slides.tile_stream import SlideTiles, TileStream, kept_tiles


class Sink(Protocol):
    """What takes the tiles of one slide."""

    def add(self, pixels: NDArray[np.uint8], coords: NDArray[np.int64]) -> None:
        """Take a batch: pixels (B, S, S, 3), RGB, and corners (B, 2)."""

    def finish(self, figures: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the row to record, empty where there is none; ``figures`` are the reader's."""


class LoadedOutput(Protocol):
    """An output ready to be written."""

    @property
    def name(self) -> str:
        """Tells the output from the others."""

    def is_current(self, slide: TiledSlide) -> bool:
        """Tell whether nothing is to be done for ``slide``."""

    def writing(self, slide: TiledSlide, row: Mapping[str, Any], n_tiles: int) -> AbstractContextManager[Sink]:
        """Give what takes the tiles of ``slide``; its file appears when the block ends well."""


class Output(Protocol):
    """Something made of the pixels of tiles: the features of an encoder, or pictures."""

    def claim(self) -> None:
        """Take the output folder for the settings."""

    def is_current(self, slide: TiledSlide) -> bool:
        """Tell whether nothing is to be done for ``slide``."""

    def load(self, device: str) -> LoadedOutput:
        """Load what writing needs onto ``device``."""


@dataclass(frozen=True)
class Reading:
    """How tiles are read."""

    batch_size: int
    threads: int
    stage_dir: Path | None = None
    """Local folder for copies of slides on slow storage."""


@dataclass(frozen=True)
class OnePass:
    """Makes ``outputs`` of slides on a device: the ``start`` of `OnDevices`."""

    outputs: Sequence[Output]
    reading: Reading

    @contextmanager
    def __call__(self, device: str, items: Items) -> Iterator[Work]:
        """Load the outputs and yield the work on a slide (`TiledSlide`), pixels being read ahead."""
        outputs = [output.load(device) for output in self.outputs]
        for output in self.outputs:  # not before: what cannot be loaded leaves no trace
            output.claim()

        def to_read(number: int) -> SlideTiles | None:
            slide: TiledSlide = items[number]
            try:
                return None if all(output.is_current(slide) for output in outputs) else kept_tiles(slide.table)[0]
            except FiveError:
                return None  # the slide's own turn will tell

        reading = self.reading
        with staging(reading.stage_dir) as stage, ThreadPoolExecutor(1, thread_name_prefix="copy") as copier:

            def copy_ahead(number: int) -> None:
                with suppress(IndexError):  # no further slide
                    tiles = to_read(number) if reading.stage_dir else None
                    if tiles is not None:
                        # what goes wrong is told when the copy is read
                        copier.submit(stage.fetch, tiles.path, tiles.slide_id)

            with TileStream(to_read, batch_size=reading.batch_size, threads=reading.threads, stage=stage) as stream:
                yield _OneSlide(outputs, stream, items, copy_ahead, stage.drop)


@dataclass
class _OneSlide:
    """Makes the outputs of one slide after the other, in the order of ``items``."""

    outputs: Sequence[LoadedOutput]
    stream: TileStream
    items: Items
    copy_ahead: Callable[[int], None]
    drop_copy: Callable[[str], None]
    number: int = 0

    def __call__(self, slide: TiledSlide) -> Result:
        while self.items[self.number].slide_id != slide.slide_id:  # those that another process holds are left out
            self.number += 1
        todo = [output for output in self.outputs if not output.is_current(slide)]
        if not todo:
            return Result(slide.slide_id, Outcome.KEPT)
        started = time.perf_counter()
        tiles, row = kept_tiles(slide.table)
        n_tiles, n_unreadable, waiting = len(tiles.coords), 0, Waiting()
        self.copy_ahead(self.number + 1)
        with ExitStack() as stack:
            stack.callback(self.drop_copy, slide.slide_id)
            sinks = {output.name: stack.enter_context(output.writing(slide, row, n_tiles)) for output in todo}
            for batch in waiting.over(self.stream.batches(self.number)):
                n_unreadable += batch.n_unreadable
                for sink in sinks.values():
                    sink.add(batch.pixels, batch.coords)
            if n_tiles and n_unreadable == n_tiles:
                raise SlideError(
                    f"{slide.slide_id}: none of its {n_tiles} tiles can be read",
                    hint="the slide file may be damaged or incomplete: copy it again",
                )
            seconds = time.perf_counter() - started
            figures = {"n_unreadable": n_unreadable, "read_seconds": waiting.waited, "seconds": seconds}
            rows = {name: found for name, sink in sinks.items() if (found := sink.finish(figures))}
        return Result(slide.slide_id, Outcome.DONE if n_tiles else Outcome.EMPTY, rows=rows)
