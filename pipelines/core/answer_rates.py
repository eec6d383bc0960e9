"""Rates over the answers to one question: unknown, ungrounded, conflicting, and how far samples agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.core.questions import UNKNOWN


@dataclass(frozen=True)
class AnswerRates:
    """Shares of the answers, 0 to 1; None where there are no answers."""

    unknown: float | None
    ungrounded: float | None
    """Answers whose quote is not in the report."""
    conflict: float | None
    """Answers that another part of the report contradicts."""
    agreement: float | None
    """Mean agreement of the repeated samples, None with one sample per report."""


def answer_rates(answers: Sequence[Mapping[str, Any]]) -> AnswerRates:
    """Return the rates over rows of the answers table, all of one question."""
    agreements = [answer["agreement"] for answer in answers if answer["agreement"] is not None]
    return AnswerRates(
        unknown=_share(sum(answer["status"] == UNKNOWN for answer in answers), len(answers)),
        ungrounded=_share(sum(not answer["grounded"] for answer in answers), len(answers)),
        conflict=_share(sum(answer["conflict"] is not None for answer in answers), len(answers)),
        agreement=_share(sum(agreements), len(agreements)),
    )


def _share(total: float, count: int) -> float | None:
    return total / count if count else None
