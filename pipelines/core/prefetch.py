"""Compute values ahead in threads, in order and with bounded memory, and time the waiting."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")
Value = TypeVar("Value")


def prefetch(
    function: Callable[[Item], Value], items: Iterable[Item], *, threads: int, ahead: int
) -> Generator[Value, None, None]:
    """Yield ``function(item)`` in the order of ``items``, computed ahead in threads.

    At most ``ahead`` values are waiting or being computed at any time. An exception of ``function``
    is raised in place of its value. If the caller stops early, pending items are cancelled and
    running ones are waited for.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="prefetch")
    pending: deque[Future[Value]] = deque()
    try:
        for item in items:
            if len(pending) >= ahead:
                yield pending.popleft().result()
            pending.append(pool.submit(function, item))
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


@dataclass
class Waiting:
    """Measures the time spent waiting for values."""

    waited: float = 0.0
    """Total waiting time, seconds."""

    def over(self, values: Iterable[Value]) -> Iterator[Value]:
        """Yield ``values`` and add the time until each is available to ``waited``."""
        iterator, end = iter(values), object()
        while True:
            before = time.perf_counter()
            value = next(iterator, end)
            self.waited += time.perf_counter() - before
            if value is end:
                return
            yield value  # type: ignore[misc]
