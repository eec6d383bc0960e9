"""Find the words of a report on a subject, for phrase questions of the ``rules`` backend."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.core.questions import Question
from pipelines.core.vocabulary import Language
from pipelines.reports.sentences import Clause
from pipelines.reports.terms import compile_terms, spans

MAX_WORDS = 30
"""Words of a phrase; what stands beyond them is left out."""


@dataclass(frozen=True)
class Phrase:
    """Words of a report as they stand, and as a line of plain text."""

    evidence: str
    text: str


def find_phrase(question: Question, language: Language, report_clauses: Sequence[Clause]) -> Phrase | None:
    """Return the piece of the report that names most of the question's words, or None.

    Clauses of the naked-eye description and of other subjects are passed over; of clauses
    that name equally many words the first wins.
    """
    best: tuple[int, Clause, list[tuple[int, int]]] | None = None
    for clause in report_clauses:
        found = spans(question.rules.about, clause.text)
        if not found or clause.section != "micro" or _is_void(question, language, clause.text):
            continue
        named = {clause.text[start:end].lower() for start, end in found}
        if best is None or len(named) > best[0]:
            best = (len(named), clause, found)
    if best is None:
        return None
    evidence = _piece(best[1].text, best[2])
    return Phrase(evidence, plain(evidence))


def _is_void(question: Question, language: Language, text: str) -> bool:
    voiding = (language.boilerplate, language.gross, language.negation, question.rules.skip)
    return any(compile_terms(words).search(text) for words in voiding)


def _piece(text: str, found: Sequence[tuple[int, int]]) -> str:
    """Return the comma-separated pieces from the first word found to the last, `MAX_WORDS` at most."""
    start = max(text.rfind(mark, 0, found[0][0]) for mark in ",;:") + 1
    end = min((i for i in (text.find(mark, found[-1][1]) for mark in ",;") if i >= 0), default=len(text))
    words = list(re.finditer(r"\S+", text[start:end]))[:MAX_WORDS]
    return text[start + words[0].start() : start + words[-1].end()].rstrip(" .,;:-")


def plain(text: str) -> str:
    """Return ``text`` on one line, without the full stops that OCR leaves at line ends, capitals lowered.

    >>> plain("SOLID NESTS WITH. KERATIN PEARLS")
    'solid nests with keratin pearls'
    """
    line = re.sub(r"\s+", " ", text).strip()
    if line.isupper():
        return line.replace(". ", " ").lower()
    return re.sub(r"\.(?= [a-z])", "", line)
