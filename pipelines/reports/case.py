"""One report on its way to answers: in one conversation, or in several where it is long or asked repeatedly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce

from pipelines.core.errors import ReportError
from pipelines.core.questions import QuestionSet
from pipelines.reports.answers import Answer, unknown
from pipelines.reports.backends.base import Sampling
from pipelines.reports.chunks import LEAST, parts
from pipelines.reports.exchange import Exchange, add
from pipelines.reports.merging import majority, merged_parts
from pipelines.reports.report_table import Report
from pipelines.reports.sections import Sections


@dataclass(eq=False)
class Case:
    """The conversations about one report: for every sample one, or one for each part of a long report."""

    report: Report
    questions: QuestionSet
    samplings: Sequence[Sampling | None] = (None,)
    """How each sample is drawn; several samples vote."""
    samples: list[list[Exchange]] = field(init=False)

    def __post_init__(self) -> None:
        text = self.report.text
        self.samples = [[Exchange(self.questions, text, 0, len(text), sampling)] for sampling in self.samplings]

    @property
    def exchanges(self) -> list[Exchange]:
        """All conversations."""
        return [exchange for sample in self.samples for exchange in sample]

    def open_exchanges(self, max_attempts: int) -> list[Exchange]:
        """Return the conversations in which another request is due."""
        return [exchange for exchange in self.exchanges if exchange.is_open(max_attempts)]

    def split(self, exchange: Exchange, size: int) -> bool:
        """Put conversations on parts of ``size`` characters in the place of one that is too long for the model.

        False where nothing can be cut any more.
        """
        if size < LEAST or len(exchange.text) <= LEAST:
            return False
        spans = parts(exchange.text, min(size, len(exchange.text) - 1))
        sample = next(sample for sample in self.samples if exchange in sample)
        index = sample.index(exchange)
        sample[index : index + 1] = [exchange.on_part(*span) for span in spans]
        return True

    @property
    def n_parts(self) -> int:
        """Parts that the report was asked about in, of the sample that needed most."""
        return max(map(len, self.samples))

    @property
    def attempts(self) -> int:
        """Requests so far."""
        return sum(exchange.attempts for exchange in self.exchanges)

    @property
    def prompt_tokens(self) -> int | None:
        """Tokens sent so far, None where not counted."""
        return reduce(add, (exchange.prompt_tokens for exchange in self.exchanges), None)

    @property
    def output_tokens(self) -> int | None:
        """Tokens generated so far, None where not counted."""
        return reduce(add, (exchange.output_tokens for exchange in self.exchanges), None)

    @property
    def seconds(self) -> float:
        """Time spent on requests so far, seconds."""
        return sum(exchange.seconds for exchange in self.exchanges)

    def answers(self) -> list[Answer]:
        """Return the answers in the order of the questions, before ungrounded ones are dealt with.

        A sample counts where all of its parts were answered: nothing of a report is left unread.

        Raises
        ------
        ReportError
            No sample could be used; says why.
        """
        sections = Sections(self.report.text)
        usable = [sample for sample in self.samples if all(exchange.answers for exchange in sample)]
        if not usable:
            problem = next(exchange.problem for exchange in self.exchanges if not exchange.answers)
            raise ReportError(f"{self.report.report_id}: {problem}")
        found = []
        for question in self.questions.questions:
            votes = [merged_parts([e.answers[question.id] for e in sample], sections) for sample in usable]
            found.append(majority(votes, len(self.samples)))
        return found

    def settle(self, ungrounded: str) -> list[Answer]:
        """Return the final answers, in the order of the questions.

        Parameters
        ----------
        ungrounded
            What becomes of answers without a quote in the report: ``keep`` them marked,
            turn them to ``unknown`` (marked too), or ``fail`` the report.

        Raises
        ------
        ReportError
            No reply could be used, or ``fail`` was asked for.
        """
        answers = self.answers()
        loose = [answer.question_id for answer in answers if not answer.grounded]
        if loose and ungrounded == "fail":
            raise ReportError(
                f"{self.report.report_id}: the evidence for {', '.join(loose)} is not a verbatim quote of the report"
            )
        if ungrounded == "unknown":
            return [
                answer if answer.grounded else unknown(question, dropped=answer)
                for question, answer in zip(self.questions.questions, answers, strict=True)
            ]
        return answers
