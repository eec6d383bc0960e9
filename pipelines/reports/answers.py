"""Locate the quotes of a backend's answers in the report, and turn the answers into rows of the answers table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pipelines.core.questions import UNKNOWN, UNKNOWN_PHRASE, Question
from pipelines.core.vocabulary import Language
from pipelines.reports.grounding import locate_all
from pipelines.reports.injection import addresses_a_model
from pipelines.reports.reply_reader import BackendAnswer
from pipelines.reports.support import Support, is_common_word, support_of


@dataclass(frozen=True)
class Answer:
    """One answer as a row of the answers table."""

    question_id: str
    status: str
    """present | absent | value | unknown | failed."""
    value: str | None
    description: str
    evidence: str | None = None
    evidence_start: int | None = None
    evidence_end: int | None = None
    grounded: bool = True
    support: Support | None = None
    """What the clauses around the quote say; None without a quote."""
    confidence: float | None = None
    agreement: float | None = None
    """Share of the repeated samples that gave this answer, None with one sample."""
    conflict: str | None = None
    """Other answers that have a quote in another part of the report."""

    @property
    def category(self) -> str:
        """The value, the status or the lower-case phrase; two answers agree if their categories are equal."""
        if self.status != "value":
            return self.status
        return self.value or self.description.lower()

    def as_row(self) -> dict[str, Any]:
        """Return the columns of the answers table that this answer fills."""
        return asdict(self)


def ground(
    question: Question,
    given: BackendAnswer,
    report_text: str,
    *,
    start: int = 0,
    end: int | None = None,
    language: Language | None = None,
) -> Answer:
    """Return the answer with its quote located in the report, and checked against the clauses around it.

    ``grounded`` is False if the report does not contain the quote, if the quote is one common word or
    an instruction to a language model, or if the clauses around it contradict the answer. A quote that
    occurs several times is taken where it supports the answer.

    Parameters
    ----------
    start, end
        The part of the report to search. The offsets returned refer to the whole report.
    language
        The words of the question set that negate and express doubt; English by default.
    """
    if given.answer == UNKNOWN:
        return unknown_answer(question)
    span, support = _find_quote(question, given, report_text[start:end], language or Language())
    if span:
        span = (span[0] + start, span[1] + start)
    presence = question.kind == "presence"
    return Answer(
        question_id=question.id,
        status=given.answer if presence else "value",
        value=given.answer if question.kind == "choice" else None,
        description=question.phrase(given.answer.strip()),
        evidence=report_text[slice(*span)] if span else given.evidence,
        evidence_start=span[0] if span else None,
        evidence_end=span[1] if span else None,
        grounded=span is not None and support != "contradicted",
        support=support,
    )


def _find_quote(
    question: Question, given: BackendAnswer, text: str, language: Language
) -> tuple[tuple[int, int] | None, Support | None]:
    """Return where the quote is in ``text``, and whether the clauses there support the answer."""
    quote = given.evidence.strip()
    if addresses_a_model(quote) or is_common_word(question, quote):
        return None, None
    first: tuple[tuple[int, int] | None, Support | None] = (None, None)
    for span in locate_all(quote, text):
        support = support_of(question, language, given.answer, text, span)
        if support == "supported":
            return span, support
        if first[0] is None:
            first = span, support
    return first


def unknown_answer(question: Question, *, replaced: Answer | None = None) -> Answer:
    """Return the answer ``unknown``.

    Parameters
    ----------
    replaced
        An ungrounded answer to replace. The new answer is marked as not grounded too.
    """
    if replaced is None:
        return Answer(question.id, UNKNOWN, None, UNKNOWN_PHRASE)
    return Answer(
        question.id,
        UNKNOWN,
        None,
        UNKNOWN_PHRASE,
        grounded=False,
        support=replaced.support,
        agreement=replaced.agreement,
    )


def failed_answer(question: Question) -> Answer:
    """Return the answer for a report that could not be described."""
    return Answer(question.id, "failed", None, UNKNOWN_PHRASE, grounded=False)
