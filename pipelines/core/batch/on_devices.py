"""Run the items of a batch on one or several devices, with one process per device and a common queue.

A worker prepares items before their turn (it reads pixels ahead), so it takes items from the queue
ahead of time. The processes of `run_batch`, in contrast, get one item at a time.
"""

from __future__ import annotations

import signal
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from pipelines.core.batch.isolation import Isolation, Named, Work, failed
from pipelines.core.batch.results import Result
from pipelines.core.errors import FiveError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

WANTS_AHEAD, WANTS_NEXT, DONE, CANNOT_START = "wants ahead", "wants next", "done", "cannot start"
"""Messages of a worker: asks for an item to prepare, asks for an item to process, sends a result, cannot start."""


class Items(Protocol):
    """The items of one worker, numbered from 0 in the order of processing."""

    def __getitem__(self, number: int) -> Any:
        """Return an item, taken from the queue if necessary. Raise IndexError if there is none, or none yet."""


Start = Callable[[str, Items], AbstractContextManager[Work]]
"""Returns the work for a device as a context manager. Arguments: the device, and the items to come.

Must be picklable."""


@dataclass(frozen=True)
class OnDevices:
    """Runner for `run_with` that processes a batch on ``devices``, with the work that ``start`` returns.

    With one device everything runs in this process. With several devices, the death of a process
    affects one item: it is retried once in another process, then fails. The other items of the
    process return to the queue.
    """

    devices: Sequence[str]
    start: Start

    def __call__(self, todo: Sequence[Named], isolated: Isolation) -> Iterator[Result]:
        """Yield the results in order of completion.

        Raises
        ------
        FiveError
            ``start`` raised it, or all processes died before they received an item.
        """
        if len(self.devices) > 1 and len(todo) > 1:
            yield from _Queue(self.start, isolated, deque(todo)).run(self.devices)
        elif todo:
            with self.start(self.devices[0], [item for item, _ in todo]) as work:
                for item, name in todo:
                    yield isolated(work, item, name)


@dataclass
class _Worker:
    """A process and the items it has taken, in order of processing."""

    device: str
    process: BaseProcess
    pipe: Connection
    held: deque[Named] = field(default_factory=deque)


@dataclass
class _Queue:
    """Gives items to processes on request."""

    start: Start
    isolated: Isolation
    waiting: deque[Named]
    suspects: deque[Named] = field(default_factory=deque)
    """Items during which a process died; each is retried once, by a process that holds no other item."""
    deaths: Counter[str] = field(default_factory=Counter)
    """Item id -> number of processes that died during the item."""
    workers: list[_Worker] = field(default_factory=list)

    def run(self, devices: Sequence[str]) -> Iterator[Result]:
        from multiprocessing.connection import wait

        try:
            for device in devices:
                self._start_worker(device)
            while self.workers:
                for pipe in wait([worker.pipe for worker in self.workers]):
                    worker = next(worker for worker in self.workers if worker.pipe is pipe)
                    yield from self._handle_message(worker)
        finally:
            for worker in self.workers:
                worker.process.terminate()
        if self.waiting or self.suspects:
            raise FiveError("all processes died before they received an item", hint="see their messages above")

    def _start_worker(self, device: str) -> None:
        import multiprocessing

        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self.start, device, self.isolated), daemon=True)
        process.start()
        theirs.close()  # then the pipe closes when the process ends
        self.workers.append(_Worker(device, process, ours))

    def _handle_message(self, worker: _Worker) -> Iterator[Result]:
        try:
            message, content = worker.pipe.recv()
            if message == DONE:
                worker.held.popleft()
                yield content
            elif message == CANNOT_START:
                error_type, text, hint = content
                raise error_type(text, hint=hint)
            else:
                worker.pipe.send(self._item_for(worker, ahead=message == WANTS_AHEAD))
        except (EOFError, OSError):
            yield from self._remove_dead(worker)

    def _item_for(self, worker: _Worker, *, ahead: bool) -> Named | None:
        """Return an item for ``worker``, or None if there is none that it may take now."""
        holds_suspect = any(self.deaths[name] for _, name in worker.held)
        source = self.waiting or (deque() if ahead else self.suspects)
        if not source or holds_suspect:
            return None
        worker.held.append(source.popleft())
        return worker.held[-1]

    def _remove_dead(self, worker: _Worker) -> Iterator[Result]:
        """Requeue the items of a dead process and, if it died during an item, start a replacement."""
        self.workers.remove(worker)
        worker.process.join()
        if not worker.held:
            return
        item, name = worker.held.popleft()
        self.waiting.extendleft(reversed(worker.held))
        self.deaths[name] += 1
        if self.deaths[name] == 1:
            self.suspects.append((item, name))
        else:
            error = FiveError(f"{name}: the process on {worker.device} died", hint="it ran out of memory or was killed")
            yield failed(name, error, self.isolated.folder)
        if self.waiting or self.suspects:
            self._start_worker(worker.device)


def _serve(pipe: Connection, start: Start, device: str, isolated: Isolation) -> None:
    """Process items until none are left: the main function of a process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent also receives Ctrl-C, and ends its processes
    items = _PipedItems(pipe)
    with suppress(EOFError, BrokenPipeError):  # the parent has ended
        try:
            with start(device, items) as work:
                while (named := items.next()) is not None:
                    pipe.send((DONE, isolated(work, *named)))
        except FiveError as error:
            pipe.send((CANNOT_START, (type(error), error.message, error.hint)))


class _PipedItems:
    """`Items` that a process requests through a pipe."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._items: list[Named] = []
        self._n_started = 0

    def __getitem__(self, number: int) -> Any:
        while number >= len(self._items):
            self._request(WANTS_AHEAD)
        return self._items[number][0]

    def next(self) -> Named | None:
        """Return the next item to process, or None if there are none left."""
        if self._n_started == len(self._items):
            try:
                self._request(WANTS_NEXT)
            except IndexError:
                return None
        self._n_started += 1
        return self._items[self._n_started - 1]

    def _request(self, message: str) -> None:
        self._pipe.send((message, None))
        named = self._pipe.recv()
        if named is None:
            raise IndexError
        self._items.append(named)
