"""Run the items of a batch in this process, or in several on this machine."""

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
    """What is done for an item before its turn, for example copying its file, and undone after it."""

    def prepare(self, item: Any, /) -> None:
        """Do it; in a thread, while the item before is worked on."""

    def release(self, item: Any, /) -> None:
        """Undo it; the item has a result, whatever that is."""


def in_this_process(work: Work, ahead: Ahead | None, todo: Sequence[Named], isolated: Isolation) -> Iterator[Result]:
    """Work on one item after the other; yield their results."""
    for item, name in _prepared(todo, ahead):
        yield isolated(work, item, name)


def _prepared(todo: Sequence[Named], ahead: Ahead | None) -> Iterator[Named]:
    """Yield the items when they are prepared, while the next one is."""
    if ahead is None:
        return iter(todo)

    def prepared(named: Named) -> Named:
        ahead.prepare(named[0])
        return named

    return prefetch(prepared, todo, threads=1, ahead=2)


def in_processes(
    work: Work, workers: int, ahead: Ahead | None, todo: Sequence[Named], isolated: Isolation
) -> Iterator[Result]:
    """Work in so many processes; yield the results in order of completion.

    A process that dies fails only the item that it was at, after one more try in another.
    """
    left, run = _prepared(todo, ahead), partial(isolated, work)
    while suspects := (yield from _one_pool(left, run, workers)):
        for suspect in suspects:  # alone in a pool, so that the guilty one is known
            if (yield from _one_pool(iter([suspect]), run, 1)):
                name, hint = suspect[1], "out of memory, or killed; try fewer --workers"
                yield failed(name, FiveError(f"{name}: the worker process died", hint=hint), isolated.folder)


def _one_pool(
    todo: Iterator[Named], run: Callable[[Any, str], Result], workers: int
) -> Generator[Result, None, list[Named]]:
    """Yield results until there are no more items, or the pool breaks; return the items that it held then."""
    import multiprocessing  # here, since one process needs none of it
    from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
    from concurrent.futures.process import BrokenProcessPool

    running: dict[Future[Result], Named] = {}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent) as pool:
        named = next(todo, None)
        while named or running:
            try:
                while named and len(running) <= workers:  # one waits for the first process that is free
                    running[pool.submit(run, *named)] = named
                    named = next(todo, None)
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield future.result()
                    del running[future]
            except BrokenProcessPool:
                return [*running.values(), *([named] if named else [])]
    return []


def _end_with_parent() -> None:
    """End this process as soon as the one that started it has; a killed one leaves it waiting for items for ever."""
    import multiprocessing

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
