"""Several answers to one question become one: of the parts of a long report, and of repeated samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from pipelines.core.questions import UNKNOWN
from pipelines.reports.answers import Answer
from pipelines.reports.sections import RANK, Sections


def merged_parts(answers: Sequence[Answer], sections: Sections) -> Answer:
    """Return the answer of a report from those of its parts.

    Of the answers whose quote was found, the one counts whose quote stands in the section that
    ranks first in `RANK`: the final diagnosis and the microscopy win over the gross
    description, as the language model is told within a part. Of equals the first in the report
    counts; without any the first whose quote was not found; else unknown. Other answers that
    quotes speak for are recorded as ``conflict``.
    """
    said = [answer for answer in answers if answer.status != UNKNOWN]
    found = [answer for answer in said if answer.grounded]
    if not found:
        return (said or list(answers))[0]

    def order(answer: Answer) -> tuple[int, int]:
        start = answer.evidence_start or 0
        return RANK.index(sections.at(start)), start

    best = min(found, key=order)
    others = sorted({answer.word for answer in found} - {best.word})
    return replace(best, conflict=", ".join(others) or None)


def majority(votes: Sequence[Answer], n_asked: int) -> Answer:
    """Return the answer that most samples gave; of equally many the one that was given first.

    ``agreement`` is its share of ``n_asked``: a sample that could not be used agrees with
    nobody. With one sample there is no agreement to tell. The quote is the first one found.
    """
    if n_asked == 1:
        return votes[0]
    counts = Counter(vote.word for vote in votes)  # keeps the order of first appearance among equals
    word, n = counts.most_common(1)[0]
    given = [vote for vote in votes if vote.word == word]
    shown = next((vote for vote in given if vote.grounded), given[0])
    return replace(shown, agreement=n / n_asked)
