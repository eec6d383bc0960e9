"""Run one function over many items: isolate failures, use several processes, share the work.

The stage decides what an item is (a slide, a report) and how to tell that its artifact is
current; this module runs, times and records. Several runs on one output folder, on one machine
or many, share the work: each item is locked while it is made.
"""

from __future__ import annotations

import time
import traceback
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from pipelines.core.errors import FiveError
from pipelines.core.locks import GLANCE_SECONDS, LEASE_SECONDS, item_lock
from pipelines.core.prefetch import prefetch


class Outcome(str, Enum):
    """What became of an item."""

    DONE = "done"
    KEPT = "kept"
    """An earlier run with the same settings made it."""
    EMPTY = "empty"
    """A recorded success with nothing in it, for example a slide without tissue."""
    FAILED = "failed"
    BUSY = "busy"
    """Another process on the same folder is making it and will record it."""


@dataclass(frozen=True)
class Result:
    """What became of one item, and its row in the stage's table."""

    item_id: str
    outcome: Outcome
    row: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    """One line: what went wrong and what to do."""
    total: int | None = None
    """Items of the batch, where it is known."""


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


class Ahead(Protocol):
    """What is done for an item before its turn, for example copying its file, and undone after it."""

    def prepare(self, item: Any, /) -> None:
        """Do it; in a thread, while the item before is worked on."""

    def release(self, item: Any, /) -> None:
        """Undo it; the item has a result, whatever that is."""


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

    An item that raises becomes a FAILED result; its traceback goes to
    ``folder/errors/<item>.txt`` and the batch goes on. A worker process that dies fails only
    the item it held, after one more try. ``work`` runs under a lock of the item, so it should
    look first whether another process has made the artifact meanwhile. Items that another
    process holds are tried once more at the end, then left to it as BUSY.

    Parameters
    ----------
    folder
        Output folder of the stage.
    workers
        Processes. With 1 everything runs in this process.
    ahead
        Prepares items before their turn: one more than there are processes to work on them.
    on_result
        Called in this process after each item, in order of completion.
    """
    workers = min(workers, len(items))
    runner = partial(_in_processes, work, workers, ahead) if workers > 1 else partial(_in_this_process, work, ahead)
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
    """Do as `run_batch`, in the processes of ``runner``, which has the work and prepares items."""
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


def _file_name(item_id: str) -> str:
    return item_id.replace("/", "__")


@dataclass(frozen=True)
class Isolation:
    """Runs work on one item under a lock, with its time measured and its exceptions turned into results."""

    folder: Path
    wait_for_lock: float

    def __call__(self, work: Work, item: Any, item_id: str) -> Result:
        """Return what became of ``item``, FAILED where ``work`` raised."""
        started = time.perf_counter()
        try:
            with item_lock(self.folder / ".locks" / f"{_file_name(item_id)}.lock", wait=self.wait_for_lock) as mine:
                if not mine:
                    return Result(item_id, Outcome.BUSY)
                result = work(item)
                _trace(self.folder, item_id).unlink(missing_ok=True)
        except Exception as error:  # noqa: BLE001 - the one place that lets a batch outlive a bug
            return failed(item_id, error, self.folder, time.perf_counter() - started)
        row = {**result.row}
        row.setdefault("seconds", time.perf_counter() - started)
        return Result(item_id, result.outcome, row, result.error)


def _trace(folder: Path, item_id: str) -> Path:
    """Return where the traceback of an item that fails is kept until the item succeeds."""
    return folder / "errors" / f"{_file_name(item_id)}.txt"


def failed(item_id: str, error: BaseException, folder: Path, seconds: float = 0.0) -> Result:
    """Return the result of an item that raised ``error`` and keep its traceback in ``folder/errors``."""
    trace = _trace(folder, item_id)
    with suppress(OSError):  # the disk may be full; the sentence still tells what happened
        trace.parent.mkdir(parents=True, exist_ok=True)
        trace.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    if isinstance(error, FiveError):
        sentence = f"{error.message} ({error.hint})" if error.hint else error.message
    else:
        sentence = f"{item_id}: {type(error).__name__}: {error} (a bug or a damaged input; see {trace})"
    row = {"status": "failed", "error_type": type(error).__name__, "error": sentence, "seconds": seconds}
    return Result(item_id, Outcome.FAILED, row, sentence)


Named = tuple[Any, str]
"""An item and its id."""
Runner = Callable[[Sequence[Named], Isolation], Iterator[Result]]
"""Does its work on items, each in isolation, and yields the results in order of completion."""


def _in_this_process(work: Work, ahead: Ahead | None, todo: Sequence[Named], isolated: Isolation) -> Iterator[Result]:
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


def _in_processes(
    work: Work, workers: int, ahead: Ahead | None, todo: Sequence[Named], isolated: Isolation
) -> Iterator[Result]:
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
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
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
