"""Base class of the backends without a language model, which read the report instead of a conversation."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from pipelines.core.errors import ReportError
from pipelines.reports.backends.base import Reply, Request


class ReportReader(ABC):
    """A `Backend` that computes the answers to all questions from the text alone."""

    deterministic = True
    batch_size = 64
    context = None
    facts: Mapping[str, str] = MappingProxyType({})

    @abstractmethod
    def answer(self, report_text: str) -> dict[str, dict[str, str]]:
        """Return question id -> ``answer`` and ``evidence``; raise `ReportError` if that takes too long."""

    def complete(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply]]:
        """Yield the answers to each request in order."""
        for index, request in enumerate(requests):
            started = time.perf_counter()
            text, error = "", ""
            try:
                text = json.dumps(self.answer(request.report_text), ensure_ascii=False)
            except ReportError as failure:
                error = failure.message
            yield index, Reply(text, error, seconds=time.perf_counter() - started)

    def count_tokens(self, request: Request) -> int | None:
        """Return 0, because nothing is sent to a language model."""
        return 0
