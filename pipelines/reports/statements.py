"""Find out which clauses of a report state findings about the tumor of this specimen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache

from pipelines.core.vocabulary import Language
from pipelines.reports.clauses import Clause, CommaPieces, split_clauses
from pipelines.reports.labels import LabelWords, labels_of
from pipelines.reports.term_patterns import TermPatterns, compile_terms

MAX_LIST = 12
"""Maximum number of lines that belong to one heading."""


@lru_cache(maxsize=8)
def read_statements(report: str, language: Language) -> tuple[Clause, ...]:
    """Return the clauses of a report, with headings, and marked if they state no finding or correct another one.

    Doubt, family history, staging manuals and reference ranges state no finding. Words about an earlier
    time are blanked out, or if they are the whole clause it states no finding. The last results are kept,
    because every answer to a report is checked with them.
    """
    words = _Words(language)
    clauses = [words.mark(clause) for clause in split_clauses(report)]
    return tuple(_with_headings(_with_corrections(clauses, words.correction), words.labels))


class _Words:
    """The lists of a language that apply to a clause whatever the question is."""

    def __init__(self, language: Language) -> None:
        excluding = (*language.boilerplate, *language.uncertain, *language.family)
        self._excluding = compile_terms(excluding)
        self._earlier = compile_terms(language.earlier)
        self._any = compile_terms((*excluding, *language.earlier))
        self.correction = compile_terms(language.correction)
        self.labels = LabelWords(language)

    def mark(self, clause: Clause) -> Clause:
        """Return the clause without words about another time, marked if it states no finding."""
        if not self._any.may_match(clause.text.lower()):
            return clause
        if self._excluding.found_in(clause.text):
            return replace(clause, is_finding=False)
        earlier = self._earlier.spans(clause.text)
        if not earlier:
            return clause
        pieces = CommaPieces(clause.text, end_marks=",;")
        text = list(clause.text)
        for span in earlier:
            start, end = pieces.around(*span)
            text[start:end] = " " * (end - start)
        left = "".join(text)
        is_finding = sum(map(str.isalpha, left)) >= MIN_LETTERS and not left.rstrip().endswith(":")
        return replace(clause, text=left if is_finding else clause.text, is_finding=is_finding)


MIN_LETTERS = 10
"""Minimum number of letters beside words about another time for which a clause is read."""


def _with_corrections(clauses: Sequence[Clause], correction: TermPatterns) -> Iterator[Clause]:
    """Yield the clauses; those of an addendum from a word of correction on are marked."""
    corrects = False
    for clause in clauses:
        corrects = clause.section == "addendum" and (corrects or correction.found_in(clause.text))
        yield replace(clause, corrects=True) if corrects else clause


def _with_headings(clauses: Iterator[Clause], words: LabelWords) -> Iterator[Clause]:
    """Yield the clauses; lines whose label names no finding get the label above as their heading."""
    heading, n_left = "", 0
    for clause in clauses:
        labels, value = labels_of(clause.text)
        first = clause.text[slice(*labels[0])] if labels else ""
        n_left -= 1
        if not labels:
            heading = ""
        elif value >= len(clause.text):
            heading, n_left = clause.text[slice(*labels[-1])], MAX_LIST
        elif heading and n_left > 0 and words.continues(first):
            clause = replace(clause, text=f"{heading}: {clause.text}")
        else:
            is_list = len(labels) > 1 and words.continues(clause.text[slice(*labels[1])])
            heading, n_left = (first, MAX_LIST) if is_list else ("", 0)
        yield clause
