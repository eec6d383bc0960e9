"""Find the words of a report about a subject, for phrase questions of the ``rules`` backend."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.core.questions import Question
from pipelines.core.vocabulary import Language
from pipelines.reports.clauses import Clause, CommaPieces, Span
from pipelines.reports.term_patterns import contains_any, find_terms

MAX_WORDS = 30
"""Maximum number of words in a phrase; the rest is left out."""


@dataclass(frozen=True)
class Phrase:
    """Words of a report, verbatim and as a line of plain text."""

    evidence: str
    text: str


def find_phrase(question: Question, language: Language, clauses: Sequence[Clause]) -> Phrase | None:
    """Return the piece of the report with the largest number of different ``about`` terms, or None.

    Clauses that are negated, or that belong to the gross description, to the clinical section or
    to another subject, are skipped. Of equal clauses the first one is returned.
    """
    best: tuple[int, Clause, list[Span]] | None = None
    for clause in clauses:
        spans = find_terms(question.rules.about, clause.text)
        excluded = (language.boilerplate, language.gross, language.negation, question.rules.skip)
        if not spans or clause.section != "micro" or contains_any(clause.text, *excluded):
            continue
        terms = {clause.text[start:end].lower() for start, end in spans}
        if best is None or len(terms) > best[0]:
            best = (len(terms), clause, spans)
    if best is None:
        return None
    evidence = _around(best[1].text, best[2])
    return Phrase(evidence, plain(evidence))


def _around(text: str, spans: Sequence[Span]) -> str:
    """Return the comma-separated pieces from the first span to the last, at most `MAX_WORDS` words."""
    start, end = CommaPieces(text, end_marks=",;").around(spans[0][0], spans[-1][1])
    words = list(re.finditer(r"\S+", text[start:end]))[:MAX_WORDS]
    return text[start + words[0].start() : start + words[-1].end()].rstrip(" .,;:-")


def plain(text: str) -> str:
    """Return ``text`` on one line, in lower case if it is all capitals, without OCR's full stops at line ends.

    >>> plain("SOLID NESTS WITH. KERATIN PEARLS")
    'solid nests with keratin pearls'
    """
    line = re.sub(r"\s+", " ", text).strip()
    if line.isupper():
        return line.replace(". ", " ").lower()
    return re.sub(r"\.(?= [a-z])", "", line)
