"""Run one function over many items: isolate failures, use several processes, keep a table.

The stage decides what an item is (a slide, a report) and how to tell that its artifact is
current; this module runs, times and records.
"""

from __future__ import annotations

import multiprocessing
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

from pipelines.core.errors import FiveError


class Outcome(str, Enum):
    """What became of an item."""

    DONE = "done"
    KEPT = "kept"
    """An earlier run with the same settings made it."""
    EMPTY = "empty"
    """A recorded success with nothing in it, for example a slide without tissue."""
    FAILED = "failed"


@dataclass(frozen=True)
class Result:
    """What became of one item, and its row in the stage's table."""

    item_id: str
    outcome: Outcome
    row: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    """One line: what went wrong and what to do."""


@dataclass(frozen=True)
class Summary:
    """What a stage did, for people and for ``--json``."""

    output: Path
    results: tuple[Result, ...]
    figures: Mapping[str, Any] = field(default_factory=dict)
    """Further figures of the stage by name, for example tiles per second."""

    @property
    def counts(self) -> dict[str, int]:
        """Number of items by outcome."""
        found = Counter(result.outcome for result in self.results)
        return {outcome.value: found[outcome] for outcome in Outcome}

    @property
    def failures(self) -> list[Result]:
        """The items that failed."""
        return [result for result in self.results if result.outcome is Outcome.FAILED]


class Work(Protocol):
    """Makes the artifact of one item and returns what became of it (picklable for processes)."""

    def __call__(self, item: Any, /) -> Result: ...  # noqa: D102


OnResult = Callable[[Result], None]


def run_batch(
    items: Sequence[Any],
    work: Work,
    *,
    item_id: Callable[[Any], str] = lambda item: str(item.slide_id),
    workers: int = 1,
    error_dir: Path,
    on_result: OnResult = lambda _: None,
) -> list[Result]:
    """Run ``work`` over ``items`` and return their results in the order of ``items``.

    An item that raises becomes a FAILED result; its traceback goes to
    ``error_dir/<item>.txt`` and the batch goes on. A worker process that dies fails only
    the item it held, after one more try.

    Parameters
    ----------
    workers
        Processes. With 1 everything runs in this process.
    on_result
        Called in this process after each item, in order of completion.
    """
    ids = [item_id(item) for item in items]
    results: dict[str, Result] = {}
    runner = _in_processes if workers > 1 and len(items) > 1 else _in_this_process
    for result in runner(items, ids, _Isolated(work, error_dir), workers):
        results[result.item_id] = result
        on_result(result)
    return [results[name] for name in ids]


@dataclass(frozen=True)
class _Isolated:
    """``work`` with its time measured and its exceptions turned into results."""

    work: Work
    error_dir: Path

    def __call__(self, item: Any, item_id: str) -> Result:
        started = time.perf_counter()
        try:
            result = self.work(item)
        except FiveError as error:
            return failed(item_id, error, self.error_dir, time.perf_counter() - started)
        except Exception as error:  # noqa: BLE001 - the one place that lets a batch outlive a bug
            return failed(item_id, error, self.error_dir, time.perf_counter() - started)
        row = {**result.row}
        row.setdefault("seconds", time.perf_counter() - started)
        return Result(item_id, result.outcome, row, result.error)


def failed(item_id: str, error: BaseException, error_dir: Path, seconds: float = 0.0) -> Result:
    """Return the result of an item that raised ``error`` and keep its traceback in a file."""
    error_dir.mkdir(parents=True, exist_ok=True)
    trace = error_dir / f"{item_id.replace('/', '__')}.txt"
    trace.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    if isinstance(error, FiveError):
        sentence = f"{error.message} ({error.hint})" if error.hint else error.message
    else:
        sentence = f"{item_id}: {type(error).__name__}: {error} (a bug or a damaged input; see {trace})"
    row = {"status": "failed", "error_type": type(error).__name__, "error": sentence, "seconds": seconds}
    return Result(item_id, Outcome.FAILED, row, sentence)


def _in_this_process(items: Sequence[Any], ids: Sequence[str], work: _Isolated, _: int) -> Iterator[Result]:
    for item, name in zip(items, ids, strict=True):
        yield work(item, name)


def _in_processes(items: Sequence[Any], ids: Sequence[str], work: _Isolated, workers: int) -> Iterator[Result]:
    suspects: list[tuple[Any, str]] = []
    todo = list(zip(items, ids, strict=True))
    while todo:
        held, todo = yield from _one_pool(todo, work, workers)
        suspects.extend(held)
    for item, name in suspects:  # alone in a pool, so that the guilty one is known
        held, _rest = yield from _one_pool([(item, name)], work, 1)
        if held:
            error = FiveError(f"{name}: the worker process died", hint="out of memory, or killed; try fewer --workers")
            yield failed(name, error, work.error_dir)


def _one_pool(
    todo: list[tuple[Any, str]], work: _Isolated, workers: int
) -> Any:  # generator of Result that returns (items held by a pool that broke, items not begun)
    context = multiprocessing.get_context("spawn")
    waiting = list(reversed(todo))
    running: dict[Future[Result], tuple[Any, str]] = {}
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        while waiting or running:
            try:
                while waiting and len(running) < 2 * workers:
                    item, name = waiting[-1]
                    running[pool.submit(work, item, name)] = (item, name)
                    waiting.pop()
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
                    del running[future]
            except BrokenProcessPool:
                return list(running.values()), list(reversed(waiting))
    return [], []
