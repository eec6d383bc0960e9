"""Validate the reply of a backend, locate its quotes in the report, and turn it into rows of the answers table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, StrictStr, ValidationError

from pipelines.core.errors import ReportError
from pipelines.core.json_text import is_unicode, parse_json
from pipelines.core.questions import UNKNOWN, UNKNOWN_PHRASE, Question, QuestionSet
from pipelines.reports.grounding import locate
from pipelines.reports.injection import addresses_a_model


class BackendAnswer(BaseModel):
    """One answer as the backend returned it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    answer: StrictStr
    evidence: StrictStr


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


def parse_reply(text: str, questions: QuestionSet) -> dict[str, BackendAnswer]:
    """Return question id -> answer from ``text``, which must be one JSON object.

    Raises
    ------
    ReportError
        The reply is not valid. The message names the question and never repeats the reply,
        because replies quote the report.
    """
    try:
        data = parse_json(text)
    except ValueError:
        raise ReportError("the reply is not JSON") from None
    if not isinstance(data, dict):
        raise ReportError("the reply is not a JSON object")
    unexpected = len(data.keys() - set(questions.ids))
    if unexpected:
        raise ReportError(f"the reply has {unexpected} entries that were not asked for")
    return {question.id: _parse_entry(data, question) for question in questions.questions}


def _parse_entry(data: Mapping[str, Any], question: Question) -> BackendAnswer:
    if question.id not in data:
        raise ReportError(f"the reply has no entry for {question.id}")
    try:
        given = BackendAnswer.model_validate(data[question.id])
    except ValidationError:
        raise ReportError(f"the entry for {question.id} is not an answer with evidence") from None
    if not is_unicode(given.answer + given.evidence):
        raise ReportError(f"the entry for {question.id} is not valid Unicode (half a surrogate pair)")
    if question.answers and given.answer not in question.answers:
        raise ReportError(f"the answer to {question.id} is not one of {', '.join(question.answers)}")
    if question.kind == "phrase" and given.answer.strip().lower() in ("", UNKNOWN):
        return BackendAnswer(answer=UNKNOWN, evidence="")
    return given


def ground(
    question: Question, given: BackendAnswer, report_text: str, *, start: int = 0, end: int | None = None
) -> Answer:
    """Return the answer with its quote located in the report.

    ``grounded`` is False if the report does not contain the quote, or if the quote is an
    instruction to a language model.

    Parameters
    ----------
    start, end
        The part of the report to search. The offsets returned refer to the whole report.
    """
    if given.answer == UNKNOWN:
        return unknown_answer(question)
    span = None if addresses_a_model(given.evidence) else locate(given.evidence, report_text[start:end])
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
        grounded=span is not None,
    )


def unknown_answer(question: Question, *, replaced: Answer | None = None) -> Answer:
    """Return the answer ``unknown``.

    Parameters
    ----------
    replaced
        An ungrounded answer to replace. The new answer is marked as not grounded too.
    """
    if replaced is None:
        return Answer(question.id, UNKNOWN, None, UNKNOWN_PHRASE)
    return Answer(question.id, UNKNOWN, None, UNKNOWN_PHRASE, grounded=False, agreement=replaced.agreement)


def failed_answer(question: Question) -> Answer:
    """Return the answer for a report that could not be described."""
    return Answer(question.id, "failed", None, UNKNOWN_PHRASE, grounded=False)
