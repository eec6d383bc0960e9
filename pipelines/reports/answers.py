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


def ground(question: Question, given: Given, report_text: str) -> Answer:
    """Return the answer with its quote located in the report, ``grounded=False`` where it is not there."""
    if given.answer == UNKNOWN:
        return unknown(question)
    span = locate(given.evidence, report_text)
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


def unknown(question: Question) -> Answer:
    """Return the answer of a report that is silent on ``question``."""
    return Answer(question.id, UNKNOWN, None, UNKNOWN_PHRASE)


def failed(question: Question) -> Answer:
    """Return the answer of a report that could not be described."""
    return Answer(question.id, "failed", None, UNKNOWN_PHRASE, grounded=False)
