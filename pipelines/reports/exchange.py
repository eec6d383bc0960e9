"""One conversation about a report or a part of it: asked, checked, asked once more where that can help."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipelines.core.errors import ReportError
from pipelines.core.questions import QuestionSet
from pipelines.reports.answers import Answer, ground, parse_reply
from pipelines.reports.backends.base import Reply, Request, Sampling
from pipelines.reports.instructions import Messages, correction, messages

MAX_ATTEMPTS = 2
"""Requests of a conversation: one, and one more where a reply cannot be used as it is."""
LETTERS_PER_TOKEN = 6
"""Letters and digits in a token, on average, that no tokenizer reaches (English: 3 to 4): text was cut."""


@dataclass(eq=False)
class Exchange:
    """The state of one conversation between requests."""

    questions: QuestionSet
    report: str
    """The whole report."""
    start: int
    end: int
    """The part of it that this conversation is about."""
    sampling: Sampling | None = None
    answers: dict[str, Answer] = field(default_factory=dict)
    problem: str = ""
    """Why the last reply cannot be used as it is, empty where it can; nothing of the report."""
    too_long: bool = False
    """True where the model does not take so much text at a time."""
    attempts: int = 0
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    seconds: float = 0.0
    _reply: str = ""

    @property
    def text(self) -> str:
        """The text that this conversation is about."""
        return self.report[self.start : self.end]

    def on_part(self, start: int, end: int) -> Exchange:
        """Return a new conversation on a part of this one's text."""
        return Exchange(self.questions, self.report, self.start + start, self.start + end, self.sampling)

    def is_open(self, max_attempts: int) -> bool:
        """Tell whether another request is due."""
        return not self.attempts or bool(self.problem and self.attempts < max_attempts and not self.too_long)

    def request(self) -> Request:
        """Return what to ask: the questions, and from the second time on what was wrong."""
        text = self.text
        conversation: Messages = messages(self.questions, text, is_part=len(text) < len(self.report))
        if self.problem and self._reply:
            conversation += [{"role": "assistant", "content": self._reply}, *correction(self.problem)]
        return Request(text, conversation, self.sampling)

    def take(self, reply: Reply) -> None:
        """Take in a reply; grounded answers of an earlier one stay where this one has none."""
        self.attempts += 1
        self.seconds += reply.seconds
        self.prompt_tokens = add(self.prompt_tokens, reply.prompt_tokens)
        self.output_tokens = add(self.output_tokens, reply.output_tokens)
        self._reply = reply.text
        self.too_long = reply.too_long and not self.answers  # a repeated request is longer than the first
        try:
            if reply.error:
                raise ReportError(reply.error)
            self._refuse_cut_text(reply)
            given = parse_reply(reply.text, self.questions)
        except ReportError as error:
            self.problem = error.message
            return
        for question in self.questions.questions:
            answer = ground(question, given[question.id], self.report, start=self.start, end=self.end)
            earlier = self.answers.get(question.id)
            if answer.grounded or earlier is None or not earlier.grounded:
                self.answers[question.id] = answer
        loose = ", ".join(name for name, answer in self.answers.items() if not answer.grounded)
        self.problem = f"the evidence for {loose} is not a verbatim quote of the report" if loose else ""

    def _refuse_cut_text(self, reply: Reply) -> None:
        """Notice a server that reads less than it was sent, as some do without a word.

        The questions are left out of account: some servers do not count what they have cached.
        """
        letters = sum(map(str.isalnum, self.text))
        if reply.prompt_tokens and letters > LETTERS_PER_TOKEN * reply.prompt_tokens:
            self.too_long = True
            raise ReportError("the server counts too few tokens for the text: it seems to have cut it")


def add(total: int | None, more: int | None) -> int | None:
    """Return the sum of two counts, None where neither is known."""
    return total if more is None else (total or 0) + more
