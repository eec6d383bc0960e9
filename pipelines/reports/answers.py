"""What comes back from a backend: validated, grounded in the report, turned into table rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, StrictStr, ValidationError

from pipelines.core.errors import ReportError
from pipelines.core.questions import UNKNOWN, UNKNOWN_PHRASE, Question, QuestionSet
from pipelines.reports.grounding import locate
from pipelines.reports.injection import addresses_a_model


class Given(BaseModel):
    """One answer as the backend gave it."""

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
    """Other answers that quotes in other parts of the report speak for."""

    @property
    def word(self) -> str:
        """The answer in one word, or as a phrase in lower case: equal answers have equal words."""
        if self.status != "value":
            return self.status
        return self.value or self.description.lower()

    def as_row(self) -> dict[str, Any]:
        """Return the columns of the answers table that this answer fills."""
        return asdict(self)


def parse_reply(text: str, questions: QuestionSet) -> dict[str, Given]:
    """Return the answer to each question in ``text``, one JSON object.

    Raises
    ------
    ReportError
        Saying what is wrong by question id. What the backend wrote is never repeated: it
        quotes the report.
    """
    try:
        data = json.loads(text)
    except ValueError:
        raise ReportError("the reply is not JSON") from None
    if not isinstance(data, dict):
        raise ReportError("the reply is not a JSON object")
    unexpected = len(data.keys() - set(questions.ids))
    if unexpected:
        raise ReportError(f"the reply has {unexpected} entries that were not asked for")
    return {question.id: _given(data, question) for question in questions.questions}


def _given(data: Mapping[str, Any], question: Question) -> Given:
    if question.id not in data:
        raise ReportError(f"the reply has no entry for {question.id}")
    try:
        given = Given.model_validate(data[question.id])
    except ValidationError:
        raise ReportError(f"the entry for {question.id} is not an answer with evidence") from None
    if question.answers and given.answer not in question.answers:
        raise ReportError(f"the answer to {question.id} is not one of {', '.join(question.answers)}")
    if question.kind == "phrase" and given.answer.strip().lower() in ("", UNKNOWN):
        return Given(answer=UNKNOWN, evidence="")
    return given


def ground(question: Question, given: Given, report_text: str, *, start: int = 0, end: int | None = None) -> Answer:
    """Return the answer with its quote located in the report.

    ``grounded`` is False where the quote is not there, or where it is no finding but speaks to
    a language model.

    Parameters
    ----------
    start, end
        The part of the report that was asked about; offsets are those of the whole report.
    """
    if given.answer == UNKNOWN:
        return unknown(question)
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


def unknown(question: Question, *, dropped: Answer | None = None) -> Answer:
    """Return the answer of a report that is silent on ``question``.

    With ``dropped``, an answer without a quote in the report, it stands in for that one and is
    marked as not grounded.
    """
    if dropped is None:
        return Answer(question.id, UNKNOWN, None, UNKNOWN_PHRASE)
    return Answer(question.id, UNKNOWN, None, UNKNOWN_PHRASE, grounded=False, agreement=dropped.agreement)


def failed(question: Question) -> Answer:
    """Return the answer of a report that could not be described."""
    return Answer(question.id, "failed", None, UNKNOWN_PHRASE, grounded=False)
