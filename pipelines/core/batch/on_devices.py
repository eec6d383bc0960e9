"""Run the items of a batch on one or several devices: a process for each device, one queue for all.

A worker on a device prepares items before their turn comes (it reads pixels ahead), so it takes
them from the queue as it gets near them. That is the difference from the processes of `run_batch`,
which are handed one item at a time.
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

AHEAD, NEXT, DONE, REFUSED = "ahead", "next", "done", "refused"
"""What a worker says: wants an item to prepare; wants one to work on; has one done; cannot start."""


class Items(Protocol):
    """The items of one worker, by number from 0 in the order in which it works on them."""

    def __getitem__(self, number: int) -> Any:
        """Return an item, taken from the queue if need be; raise IndexError where there is none (yet)."""


Start = Callable[[str, Items], AbstractContextManager[Work]]
"""Gives the work on a device (picklable). Its argument besides the device tells what comes next."""


@dataclass(frozen=True)
class OnDevices:
    """Runs a batch on ``devices``; a runner of `run_with`, whose work ``start`` gives.

    With one device everything runs in this process. With several, a process that dies fails
    only the item that it was at, after one more try in another; its other items go back to the queue.
    """

    devices: Sequence[str]
    start: Start

    def __call__(self, todo: Sequence[Named], isolated: Isolation) -> Iterator[Result]:
        """Yield the results in order of completion.

        Raises
        ------
        FiveError
            ``start`` raised it, or all processes died before they had an item.
        """
        if len(self.devices) > 1 and len(todo) > 1:
            yield from _Queue(self.start, isolated, deque(todo)).run(self.devices)
        elif todo:
            with self.start(self.devices[0], [item for item, _ in todo]) as work:
                for item, name in todo:
                    yield isolated(work, item, name)


@dataclass
class _Worker:
    """A process and the items it has taken, in its order."""

    device: str
    process: BaseProcess
    pipe: Connection
    held: deque[Named] = field(default_factory=deque)


@dataclass
class _Queue:
    """Hands items to processes as they ask."""

    start: Start
    isolated: Isolation
    waiting: deque[Named]
    suspects: deque[Named] = field(default_factory=deque)
    """Items that a process died at; each is tried once more, by a process that holds no other."""
    deaths: Counter[str] = field(default_factory=Counter)
    """Processes that died at an item."""
    workers: list[_Worker] = field(default_factory=list)

    def run(self, devices: Sequence[str]) -> Iterator[Result]:
        from multiprocessing.connection import wait

        try:
            for device in devices:
                self._begin(device)
            while self.workers:
                for pipe in wait([worker.pipe for worker in self.workers]):
                    worker = next(worker for worker in self.workers if worker.pipe is pipe)
                    yield from self._hear(worker)
        finally:
            for worker in self.workers:
                worker.process.terminate()
        if self.waiting or self.suspects:
            raise FiveError("all processes died before they had an item", hint="what they wrote above says why")

    def _begin(self, device: str) -> None:
        import multiprocessing

        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self.start, device, self.isolated), daemon=True)
        process.start()
        theirs.close()  # so that the end of the process is the end of the pipe
        self.workers.append(_Worker(device, process, ours))

    def _hear(self, worker: _Worker) -> Iterator[Result]:
        try:
            said, what = worker.pipe.recv()
            if said == DONE:
                worker.held.popleft()
                yield what
            elif said == REFUSED:
                kind, message, hint = what
                raise kind(message, hint=hint)
            else:
                worker.pipe.send(self._give(worker, ahead=said == AHEAD))
        except (EOFError, OSError):
            yield from self._bury(worker)

    def _give(self, worker: _Worker, *, ahead: bool) -> Named | None:
        """Return an item for ``worker``; None where there is none, or none that it may take now."""
        suspected = any(self.deaths[name] for _, name in worker.held)
        source = self.waiting or (deque() if ahead else self.suspects)
        if not source or suspected:
            return None
        worker.held.append(source.popleft())
        return worker.held[-1]

    def _bury(self, worker: _Worker) -> Iterator[Result]:
        """Take back what a process held that has ended; where it died at an item, begin another in its place."""
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
            error = FiveError(f"{name}: the process on {worker.device} died", hint="out of memory, or killed")
            yield failed(name, error, self.isolated.folder)
        if self.waiting or self.suspects:
            self._begin(worker.device)


def _serve(pipe: Connection, start: Start, device: str, isolated: Isolation) -> None:
    """Work on items until there are no more. The main function of a process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears of Ctrl-C too, and ends its processes
    items = _Asked(pipe)
    with suppress(EOFError, BrokenPipeError):  # the parent is gone
        try:
            with start(device, items) as work:
                while (named := items.next()) is not None:
                    pipe.send((DONE, isolated(work, *named)))
        except FiveError as error:
            pipe.send((REFUSED, (type(error), error.message, error.hint)))


class _Asked:
    """`Items` of a process, asked for through a pipe."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._items: list[Named] = []
        self._begun = 0

    def __getitem__(self, number: int) -> Any:
        while number >= len(self._items):
            self._take(AHEAD)
        return self._items[number][0]

    def next(self) -> Named | None:
        """Return the next item to work on, None when all is done."""
        if self._begun == len(self._items):
            try:
                self._take(NEXT)
            except IndexError:
                return None
        self._begun += 1
        return self._items[self._begun - 1]

    def _take(self, how: str) -> None:
        self._pipe.send((how, None))
        named = self._pipe.recv()
        if named is None:
            raise IndexError
        self._items.append(named)
