"""All conversations about one report, and the answers that result from them.

There is one conversation per sample. A report that is too long for the model has one per sample and part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce

from pipelines.core.errors import ReportError
from pipelines.core.questions import QuestionSet
from pipelines.reports.answers import Answer, unknown_answer
from pipelines.reports.backends.base import Sampling
from pipelines.reports.conversation import Conversation, add_counts
from pipelines.reports.merging import majority_answer, merge_parts
from pipelines.reports.report_table import Report
from pipelines.reports.sections import Sections
from pipelines.reports.splitting import MIN_PART, split_report


@dataclass(eq=False)
class ReportTask:
    """The conversations about one report."""

    report: Report
    questions: QuestionSet
    samplings: Sequence[Sampling | None] = (None,)
    """Sampling of each sample; several samples vote."""
    samples: list[list[Conversation]] = field(init=False)

    def __post_init__(self) -> None:
        text = self.report.text
        self.samples = [[Conversation(self.questions, text, 0, len(text), sampling)] for sampling in self.samplings]

    @property
    def conversations(self) -> list[Conversation]:
        """The conversations of all samples."""
        return [conversation for sample in self.samples for conversation in sample]

    def open_conversations(self, max_attempts: int) -> list[Conversation]:
        """Return the conversations that need another request."""
        return [conversation for conversation in self.conversations if conversation.is_open(max_attempts)]

    def split(self, conversation: Conversation, size: int) -> bool:
        """Replace a conversation that is too long for the model by conversations about parts of ``size`` characters.

        Return False if the text cannot be cut any further.
        """
        if size < MIN_PART or len(conversation.text) <= MIN_PART:
            return False
        spans = split_report(conversation.text, min(size, len(conversation.text) - 1))
        sample = next(sample for sample in self.samples if conversation in sample)
        index = sample.index(conversation)
        sample[index : index + 1] = [conversation.for_part(*span) for span in spans]
        return True

    @property
    def n_parts(self) -> int:
        """Number of parts that the report was cut into; the maximum over the samples."""
        return max(map(len, self.samples))

    @property
    def attempts(self) -> int:
        """Number of requests so far."""
        return sum(conversation.attempts for conversation in self.conversations)

    @property
    def prompt_tokens(self) -> int | None:
        """Number of tokens sent so far, None where not counted."""
        return reduce(add_counts, (conversation.prompt_tokens for conversation in self.conversations), None)

    @property
    def output_tokens(self) -> int | None:
        """Number of tokens generated so far, None where not counted."""
        return reduce(add_counts, (conversation.output_tokens for conversation in self.conversations), None)

    @property
    def seconds(self) -> float:
        """Time spent on requests so far, seconds."""
        return sum(conversation.seconds for conversation in self.conversations)

    def answers(self) -> list[Answer]:
        """Return the answers in the order of the questions, ungrounded ones included.

        A sample counts only if all of its parts were answered, so that the whole report was read.

        Raises
        ------
        ReportError
            No sample could be used; the message gives the reason.
        """
        sections = Sections(self.report.text)
        usable = [sample for sample in self.samples if all(conversation.answers for conversation in sample)]
        if not usable:
            problem = next(conversation.problem for conversation in self.conversations if not conversation.answers)
            raise ReportError(f"{self.report.report_id}: {problem}")
        answers = []
        for question in self.questions.questions:
            votes = [merge_parts([part.answers[question.id] for part in sample], sections) for sample in usable]
            answers.append(majority_answer(votes, len(self.samples)))
        return answers

    def final_answers(self, ungrounded: str) -> list[Answer]:
        """Return the final answers, in the order of the questions.

        Parameters
        ----------
        ungrounded
            How to treat answers without a quote that supports them: ``keep`` them marked,
            replace them by ``unknown`` (marked too), or ``fail`` the report.

        Raises
        ------
        ReportError
            No reply could be used, or ``ungrounded`` is ``fail`` and an answer is not grounded.
        """
        answers = self.answers()
        ungrounded_ids = [answer.question_id for answer in answers if not answer.grounded]
        if ungrounded_ids and ungrounded == "fail":
            raise ReportError(
                f"{self.report.report_id}: the evidence for {', '.join(ungrounded_ids)} is not a verbatim quote"
                " of the report that supports the answer"
            )
        if ungrounded == "unknown":
            return [
                answer if answer.grounded else unknown_answer(question, replaced=answer)
                for question, answer in zip(self.questions.questions, answers, strict=True)
            ]
        return answers
