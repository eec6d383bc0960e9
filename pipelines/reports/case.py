"""One report on its way to answers: asked, checked, asked once more where that can help."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipelines.core.errors import ReportError
from pipelines.core.questions import QuestionSet
from pipelines.reports.answers import Answer, ground, parse_reply, unknown
from pipelines.reports.backends.base import Reply, Request
from pipelines.reports.instructions import Messages, correction, messages
from pipelines.reports.report_table import Report


@dataclass
class Case:
    """The state of one report between requests."""

    report: Report
    questions: QuestionSet
    answers: dict[str, Answer] = field(default_factory=dict)
    problem: str = ""
    """Why the last reply cannot be used as it is, empty where it can; nothing of the report."""
    attempts: int = 0
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    seconds: float = 0.0
    _reply: str = ""

    def request(self) -> Request:
        """Return what to ask: the questions, and from the second time on what was wrong."""
        conversation: Messages = messages(self.questions, self.report.text)
        if self.problem and self._reply:
            conversation += [{"role": "assistant", "content": self._reply}, *correction(self.problem)]
        return Request(self.report.text, conversation)

    def take(self, reply: Reply) -> None:
        """Take in a reply; grounded answers of an earlier one stay where this one has none."""
        self.attempts += 1
        self.seconds += reply.seconds
        self.prompt_tokens = _add(self.prompt_tokens, reply.prompt_tokens)
        self.output_tokens = _add(self.output_tokens, reply.output_tokens)
        self._reply = reply.text
        try:
            if reply.error:
                raise ReportError(reply.error)
            given = parse_reply(reply.text, self.questions)
        except ReportError as error:
            self.problem = error.message
            return
        for question in self.questions.questions:
            answer = ground(question, given[question.id], self.report.text)
            earlier = self.answers.get(question.id)
            if answer.grounded or earlier is None or not earlier.grounded:
                self.answers[question.id] = answer
        loose = ", ".join(self.ungrounded)
        self.problem = f"the evidence for {loose} is not a verbatim quote of the report" if loose else ""

    @property
    def ungrounded(self) -> list[str]:
        """The ids of the questions whose quote is not in the report."""
        return [name for name, answer in self.answers.items() if not answer.grounded]

    def settle(self, ungrounded: str) -> list[Answer]:
        """Return the final answers, in the order of the questions.

        Parameters
        ----------
        ungrounded
            What becomes of answers without a quote in the report: ``keep`` them marked,
            turn them to ``unknown``, or ``fail`` the report.

        Raises
        ------
        ReportError
            No reply could be used, or ``fail`` was asked for.
        """
        if not self.answers or (self.ungrounded and ungrounded == "fail"):
            raise ReportError(f"{self.report.report_id}: {self.problem}")
        return [
            unknown(question)
            if ungrounded == "unknown" and not self.answers[question.id].grounded
            else self.answers[question.id]
            for question in self.questions.questions
        ]


def _add(total: int | None, more: int | None) -> int | None:
    return total if more is None else (total or 0) + more
