"""Compute ahead in threads, in order, with bounded memory."""

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
    """Yield ``function(item)`` in the order of ``items``, computed by ``threads`` that run ahead.

    At most ``ahead`` values wait or are being computed at any time. An exception of
    ``function`` is raised here, where its value would have come. When the caller stops early,
    what was not begun is dropped and what was begun is waited for.
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
    """How long values that come from elsewhere are waited for."""

    waited: float = 0.0
    """Seconds."""

    def over(self, values: Iterable[Value]) -> Iterator[Value]:
        """Yield ``values``, timing how long each lets its user wait."""
        iterator, end = iter(values), object()
        while True:
            before = time.perf_counter()
            value = next(iterator, end)
            self.waited += time.perf_counter() - before
            if value is end:
                return
            yield value  # type: ignore[misc]
