"""Run the items of a batch in this process, or in several processes on this machine."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial
from typing import Any, Protocol

from pipelines.core.batch.isolation import Isolation, Named, Work, failed
from pipelines.core.batch.results import Result
from pipelines.core.errors import FiveError
from pipelines.core.prefetch import prefetch


class Ahead(Protocol):
    """Prepares an item before its turn, for example by copying its file, and cleans up afterwards."""

    def prepare(self, item: Any, /) -> None:
        """Prepare the item. Runs in a thread while the previous item is processed."""

    def release(self, item: Any, /) -> None:
        """Clean up after the item, whatever its result."""


def in_this_process(work: Work, ahead: Ahead | None, todo: Sequence[Named], isolated: Isolation) -> Iterator[Result]:
    """Process the items one after the other and yield their results."""
    for item, name in _prepared(todo, ahead):
        yield isolated(work, item, name)


def _prepared(todo: Sequence[Named], ahead: Ahead | None) -> Iterator[Named]:
    """Yield each item once it is prepared; the next one is prepared meanwhile."""
    if ahead is None:
        return iter(todo)

    def prepared(named: Named) -> Named:
        ahead.prepare(named[0])
        return named

    return prefetch(prepared, todo, threads=1, ahead=2)


def in_processes(
    work: Work, workers: int, ahead: Ahead | None, todo: Sequence[Named], isolated: Isolation
) -> Iterator[Result]:
    """Process the items in ``workers`` processes and yield the results in order of completion.

    If a process dies, the item it was processing is retried once in another process, then fails.
    """
    remaining, run = _prepared(todo, ahead), partial(isolated, work)
    while suspects := (yield from _one_pool(remaining, run, workers)):
        for suspect in suspects:  # each alone in a pool, to find the item that kills the worker
            if (yield from _one_pool(iter([suspect]), run, 1)):
                name, hint = suspect[1], "it ran out of memory or was killed; try fewer --workers"
                yield failed(name, FiveError(f"{name}: the worker process died", hint=hint), isolated.folder)


def _one_pool(
    todo: Iterator[Named], run: Callable[[Any, str], Result], workers: int
) -> Generator[Result, None, list[Named]]:
    """Yield results until no items are left or the pool breaks; return the unfinished items of a broken pool."""
    import multiprocessing  # slow to import, and not needed for a single process
    from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
    from concurrent.futures.process import BrokenProcessPool

    running: dict[Future[Result], Named] = {}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent) as pool:
        named = next(todo, None)
        while named or running:
            try:
                while named and len(running) <= workers:  # one extra item waits for the next free process
                    running[pool.submit(run, *named)] = named
                    named = next(todo, None)
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield future.result()
                    del running[future]
            except BrokenProcessPool:
                return [*running.values(), *([named] if named else [])]
    return []


def _end_with_parent() -> None:
    """End this process when its parent ends; otherwise it would wait forever for items of a killed parent."""
    import multiprocessing

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
