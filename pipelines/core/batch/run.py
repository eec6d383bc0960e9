"""Run one function over many items: isolate failures, use several processes, share the work.

The stage decides what an item is (a slide, a report) and how to tell that its artifact is
current; this package runs, times and records. Several runs on one output folder, on one machine
or many, share the work: each item is locked while it is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pipelines.core.batch.in_processes import Ahead, in_processes, in_this_process
from pipelines.core.batch.isolation import Isolation, Named, Work
from pipelines.core.batch.results import OnResult, Outcome, Result
from pipelines.core.locks import GLANCE_SECONDS, LEASE_SECONDS

Runner = Callable[[Sequence[Named], Isolation], Iterator[Result]]
"""Runs the work on items, each in isolation, and yields the results in order of completion."""


def run_batch(
    items: Sequence[Any],
    work: Work,
    *,
    item_id: Callable[[Any], str] = lambda item: str(item.slide_id),
    workers: int = 1,
    folder: Path,
    ahead: Ahead | None = None,
    on_result: OnResult = lambda _: None,
) -> list[Result]:
    """Run ``work`` over ``items`` and return their results in the order of ``items``.

    An item that raises becomes a FAILED result; its traceback is written to
    ``folder/errors/<item>.txt`` and the batch continues. A worker process that dies fails only
    the item it was processing, after one retry. ``work`` runs under a lock per item, so it should
    first check whether another process has made the artifact in the meantime. Items locked by
    another process are retried once at the end, then reported as BUSY.

    Parameters
    ----------
    folder
        Output folder of the stage.
    workers
        Number of processes; 1 runs everything in this process.
    ahead
        Prepares items ahead of time, one more than there are worker processes.
    on_result
        Called in this process after each item, in order of completion.
    """
    workers = min(workers, len(items))
    runner = partial(in_processes, work, workers, ahead) if workers > 1 else partial(in_this_process, work, ahead)
    return run_with(runner, items, item_id=item_id, folder=folder, ahead=ahead, on_result=on_result)


def run_with(
    runner: Runner,
    items: Sequence[Any],
    *,
    item_id: Callable[[Any], str] = lambda item: str(item.slide_id),
    folder: Path,
    ahead: Ahead | None = None,
    on_result: OnResult = lambda _: None,
) -> list[Result]:
    """Do the same as `run_batch`, with ``runner`` in charge of the work and its processes."""
    ids = [item_id(item) for item in items]
    by_id = dict(zip(ids, items, strict=True))
    results: dict[str, Result] = {}
    for wait_for_lock in (GLANCE_SECONDS, LEASE_SECONDS * 1.2):
        todo = [(item, name) for item, name in zip(items, ids, strict=True) if _open(results.get(name))]
        for result in runner(todo, Isolation(folder, wait_for_lock)):
            results[result.item_id] = result
            if ahead is not None:
                ahead.release(by_id[result.item_id])
            if result.outcome is not Outcome.BUSY:
                on_result(replace(result, total=len(items)))
    return [results[name] for name in ids]


def _open(result: Result | None) -> bool:
    return result is None or result.outcome is Outcome.BUSY
