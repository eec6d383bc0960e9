"""Send reports to a backend in batches until every conversation has ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipelines.core.questions import QuestionSet
from pipelines.core.settings import DescribeReportsSettings
from pipelines.reports.backends.base import Backend, Request, Sampling
from pipelines.reports.conversation import MAX_ATTEMPTS, Conversation
from pipelines.reports.instructions import messages
from pipelines.reports.report_table import Report
from pipelines.reports.report_task import ReportTask
from pipelines.reports.splitting import part_size

MIN_CHARACTERS_PER_TOKEN = 3.5
"""Low estimate for English text, where only the server can count. A part that is still too long is cut again."""


def ask_backend(
    reports: Sequence[Report], backend: Backend, questions: QuestionSet, settings: DescribeReportsSettings
) -> Iterator[ReportTask]:
    """Yield the task of each report when its last conversation has ended.

    If a reply is not usable, or a quote is not in the report, the backend is asked a second
    time. A report that is too long for the model is cut into parts, one conversation each.

    Raises
    ------
    BackendError
        The backend cannot be used at all; reports not yet yielded have no answers.
    """
    samplings = _samplings(settings)
    for start in range(0, len(reports), backend.batch_size):
        batch = reports[start : start + backend.batch_size]
        tasks = [ReportTask(report, questions, samplings) for report in batch]
        yield from _finish_batch(tasks, backend, settings.max_tokens)


def _samplings(settings: DescribeReportsSettings) -> list[Sampling | None]:
    if settings.votes == 1:
        return [None]
    return [Sampling(settings.temperature, settings.seed + vote) for vote in range(settings.votes)]


def _finish_batch(tasks: Sequence[ReportTask], backend: Backend, max_tokens: int) -> Iterator[ReportTask]:
    attempts = 1 if backend.deterministic else MAX_ATTEMPTS
    unfinished = list(tasks)
    while unfinished:
        todo = [(task, conversation) for task in unfinished for conversation in task.open_conversations(attempts)]
        for index, reply in backend.complete([conversation.request() for _, conversation in todo]):
            task, conversation = todo[index]
            conversation.receive(reply)
            if conversation.too_long:
                task.split(conversation, _part_size(conversation, backend, max_tokens))
            if not task.open_conversations(attempts):
                yield task
        unfinished = [task for task in unfinished if task.open_conversations(attempts)]


def _part_size(conversation: Conversation, backend: Backend, max_tokens: int) -> int:
    """Return the maximum number of characters for parts of the conversation's text."""
    without_text = Request("", messages(conversation.questions, "", is_part=True))
    room = backend.context - max_tokens if backend.context else None
    return part_size(
        len(conversation.text),
        _count_tokens(conversation.request(), backend),
        _count_tokens(without_text, backend),
        room,
    )


def _count_tokens(request: Request, backend: Backend) -> int:
    """Return the number of tokens of a request; an estimate if only the server can count them."""
    counted = backend.count_tokens(request)
    if counted is not None:
        return counted
    return int(sum(len(message["content"]) for message in request.messages) / MIN_CHARACTERS_PER_TOKEN)
