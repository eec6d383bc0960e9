"""One conversation with a backend about a report or a part of it: request, check the reply, and ask once more."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipelines.core.errors import ReportError
from pipelines.core.questions import QuestionSet
from pipelines.reports.answers import Answer, ground
from pipelines.reports.backends.base import Reply, Request, Sampling
from pipelines.reports.instructions import Messages, correction, messages
from pipelines.reports.reply_reader import parse_reply

MAX_ATTEMPTS = 2
"""Maximum number of requests per conversation: a second one if the first reply has a problem."""
MAX_LETTERS_PER_TOKEN = 6
"""Letters and digits per token that no tokenizer exceeds on average (English: 3 to 4); more means the text was cut."""


@dataclass(eq=False)
class Conversation:
    """The state of one conversation between requests."""

    questions: QuestionSet
    report: str
    """Text of the whole report."""
    start: int
    end: int
    """Span of the report that this conversation is about."""
    sampling: Sampling | None = None
    answers: dict[str, Answer] = field(default_factory=dict)
    problem: str = ""
    """What is wrong with the last reply, without words of the report; empty if nothing is."""
    too_long: bool = False
    """True if the model does not accept this much text at once."""
    attempts: int = 0
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    seconds: float = 0.0
    _reply: str = ""

    @property
    def text(self) -> str:
        """The text that this conversation is about."""
        return self.report[self.start : self.end]

    def for_part(self, start: int, end: int) -> Conversation:
        """Return a new conversation about a part of this one's text."""
        return Conversation(self.questions, self.report, self.start + start, self.start + end, self.sampling)

    def is_open(self, max_attempts: int) -> bool:
        """Return whether another request is needed."""
        return not self.attempts or bool(self.problem and self.attempts < max_attempts and not self.too_long)

    def request(self) -> Request:
        """Return the next request: the questions, and after a reply with a problem what was wrong with it."""
        text = self.text
        chat: Messages = messages(self.questions, text, is_part=len(text) < len(self.report))
        if self.problem and self._reply:
            chat += [{"role": "assistant", "content": self._reply}, *correction(self.problem)]
        return Request(text, chat, self.sampling)

    def receive(self, reply: Reply) -> None:
        """Record a reply. It does not replace grounded answers of an earlier reply by ungrounded ones."""
        self.attempts += 1
        self.seconds += reply.seconds
        self.prompt_tokens = add_counts(self.prompt_tokens, reply.prompt_tokens)
        self.output_tokens = add_counts(self.output_tokens, reply.output_tokens)
        self._reply = reply.text.encode(errors="replace").decode()  # half a surrogate pair cannot be sent back
        self.too_long = reply.too_long and not self.answers  # the second request is longer than the first
        try:
            if reply.error:
                raise ReportError(reply.error)
            self._check_text_was_read(reply)
            given = parse_reply(reply.text, self.questions)
        except ReportError as error:
            self.problem = error.message
            return
        for question in self.questions.questions:
            entry, language = given[question.id], self.questions.language
            answer = ground(question, entry, self.report, start=self.start, end=self.end, language=language)
            earlier = self.answers.get(question.id)
            if answer.grounded or earlier is None or not earlier.grounded:
                self.answers[question.id] = answer
        ungrounded = ", ".join(name for name, answer in self.answers.items() if not answer.grounded)
        self.problem = (
            f"the evidence for {ungrounded} is not a verbatim quote of the report that supports the answer"
            if ungrounded
            else ""
        )

    def _check_text_was_read(self, reply: Reply) -> None:
        """Raise `ReportError` if the server read less than it was sent; some servers cut text silently.

        Only the report is counted, not the questions: some servers leave cached tokens out of their count.
        """
        letters = sum(map(str.isalnum, self.text))
        if reply.prompt_tokens and letters > MAX_LETTERS_PER_TOKEN * reply.prompt_tokens:
            self.too_long = True
            raise ReportError("the server counts too few tokens for the text: it seems to have cut it")


def add_counts(total: int | None, more: int | None) -> int | None:
    """Return the sum of two counts; None counts as 0, but the sum of None and None is None."""
    return total if more is None else (total or 0) + more
