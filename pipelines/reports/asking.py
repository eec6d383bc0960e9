"""Put cases to a backend, a batch at a time, until every conversation has ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipelines.core.questions import QuestionSet
from pipelines.core.settings import DescribeReportsSettings
from pipelines.reports.backends.base import Backend, Request, Sampling
from pipelines.reports.case import Case
from pipelines.reports.chunks import size_that_fits
from pipelines.reports.exchange import MAX_ATTEMPTS, Exchange
from pipelines.reports.instructions import messages
from pipelines.reports.report_table import Report

FEWEST_CHARACTERS_PER_TOKEN = 3.5
"""Of English text, on the safe side, where only the server can count; a part that is too long is cut again."""


def ask(
    reports: Sequence[Report], backend: Backend, questions: QuestionSet, settings: DescribeReportsSettings
) -> Iterator[Case]:
    """Yield the case of each report when its last conversation has ended.

    What a reply leaves open is asked once more. A report longer than the model takes is cut
    into parts, each of which is asked about.

    Raises
    ------
    BackendError
        The backend cannot be used at all; reports not yet yielded are lost.
    """
    samplings = _samplings(settings)
    for start in range(0, len(reports), backend.batch_size):
        batch = reports[start : start + backend.batch_size]
        yield from _ask_batch([Case(report, questions, samplings) for report in batch], backend, settings.max_tokens)


def _samplings(settings: DescribeReportsSettings) -> list[Sampling | None]:
    if settings.votes == 1:
        return [None]
    return [Sampling(settings.temperature, settings.seed + vote) for vote in range(settings.votes)]


def _ask_batch(cases: Sequence[Case], backend: Backend, max_tokens: int) -> Iterator[Case]:
    attempts = 1 if backend.repeatable else MAX_ATTEMPTS
    waiting = list(cases)
    while waiting:
        todo = [(case, exchange) for case in waiting for exchange in case.open_exchanges(attempts)]
        for index, reply in backend.complete([exchange.request() for _, exchange in todo]):
            case, exchange = todo[index]
            exchange.take(reply)
            if exchange.too_long:
                case.split(exchange, _size(exchange, backend, max_tokens))
            if not case.open_exchanges(attempts):
                yield case
        waiting = [case for case in waiting if case.open_exchanges(attempts)]


def _size(exchange: Exchange, backend: Backend, max_tokens: int) -> int:
    """Return how many characters a part of the conversation's text may have."""
    empty = Request("", messages(exchange.questions, "", is_part=True))
    room = backend.context - max_tokens if backend.context else None
    return size_that_fits(len(exchange.text), _tokens(exchange.request(), backend), _tokens(empty, backend), room)


def _tokens(request: Request, backend: Backend) -> int:
    """Return the tokens of a request, estimated where only the server could count them."""
    counted = backend.count_tokens(request)
    if counted is not None:
        return counted
    return int(sum(len(message["content"]) for message in request.messages) / FEWEST_CHARACTERS_PER_TOKEN)
