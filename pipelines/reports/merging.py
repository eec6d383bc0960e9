"""Merge the answers to one question: from the parts of a long report, and from repeated samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from pipelines.core.questions import UNKNOWN
from pipelines.reports.answers import Answer
from pipelines.reports.sections import SECTION_PRIORITY, Sections


def merge_parts(answers: Sequence[Answer], sections: Sections) -> Answer:
    """Return the answer for a report from the answers for its parts.

    The first of these that exists is returned:

    1. the grounded answer whose quote is in the section that comes first in `SECTION_PRIORITY`,
       and first in the report within that section. So the final diagnosis and the microscopy
       win over the gross description, as the instructions say for a single part;
    2. the first ungrounded answer;
    3. unknown.

    Grounded answers that differ from it are listed in ``conflict``.
    """
    known = [answer for answer in answers if answer.status != UNKNOWN]
    grounded = [answer for answer in known if answer.grounded]
    if not grounded:
        return (known or list(answers))[0]

    def priority(answer: Answer) -> tuple[int, int]:
        start = answer.evidence_start or 0
        return SECTION_PRIORITY.index(sections.at(start)), start

    best = min(grounded, key=priority)
    others = sorted({answer.category for answer in grounded} - {best.category})
    return replace(best, conflict=", ".join(others) or None)


def majority_answer(votes: Sequence[Answer], n_samples: int) -> Answer:
    """Return the most frequent answer; of equally frequent ones, the one that was given first.

    Its quote is the first grounded one. ``agreement`` is its share of ``n_samples``, in which
    samples without a usable reply count as disagreement; None with one sample.
    """
    if n_samples == 1:
        return votes[0]
    counts = Counter(vote.category for vote in votes)  # in order of first appearance, also among equals
    category, n = counts.most_common(1)[0]
    winners = [vote for vote in votes if vote.category == category]
    winner = next((vote for vote in winners if vote.grounded), winners[0])
    return replace(winner, agreement=n / n_samples)
