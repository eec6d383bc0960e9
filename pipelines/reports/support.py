"""Check an answer against what the clauses around its quote say, read as the backend ``rules`` reads them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from pipelines.core.questions import Question
from pipelines.core.vocabulary import Language
from pipelines.reports.clause_reader import ClauseReader, reader_of
from pipelines.reports.clauses import Clause, with_following
from pipelines.reports.labels import labels_of
from pipelines.reports.negation import Negation
from pipelines.reports.plain_text import plain_text
from pipelines.reports.statements import read_statements
from pipelines.reports.term_patterns import compile_terms

Support = Literal["supported", "contradicted", "not checkable"]

READING_VERSION = 2
"""Part of the fingerprint of an answer. Increase it when reports are read differently; old answers are redone."""
MIN_LETTERS = 4
"""Minimum number of letters of a word of a phrase that must be in the report; shorter ones join words."""
_WORD = re.compile(r"[^\W_]+")


def support_of(question: Question, language: Language, answer: str, report: str, span: tuple[int, int]) -> Support:
    """Return whether the clauses that a quote is part of give an answer.

    ``supported``
        They give this answer.
    ``contradicted``
        They give another one, express doubt, speak of another time or person, or say nothing about the
        question although the report uses its words elsewhere. Words of a phrase that they lack count too.
    ``not checkable``
        The words of the question set do not decide.

    Parameters
    ----------
    answer
        A value of the question, or for a phrase question its phrase.
    span
        Position of the quote in ``report``.
    """
    statements = read_statements(report, language)
    quoted = [pair for pair in with_following(statements) if _overlaps(pair[0], report, span)]
    if question.kind == "phrase":
        return _support_of_phrase(question, language, answer, [clause for clause, _ in quoted])
    reader = reader_of(question, language)
    findings = [reader.read(clause, following) for clause, following in quoted]
    answers = {finding.answer for finding in findings if finding}
    if answer in answers:
        return "supported"
    if answers or _says_nothing(reader, [clause for clause, _ in quoted]):
        return "contradicted"
    return "contradicted" if _is_elsewhere(reader, statements, quoted[0][0] if quoted else None) else "not checkable"


def is_common_word(question: Question, quote: str) -> bool:
    """Return whether a quote is one word that proves nothing, such as "present".

    One word is proof if it has a digit (``R0``), or if it is a word that the question set searches for.
    """
    if len(quote.split()) > 1 or any(map(str.isdigit, quote)):
        return False
    words = [*question.rules.about, *(term for allowed in question.values.values() for term in allowed.decisive)]
    if not question.rules.about:
        words += [term for allowed in question.values.values() for term in allowed.terms]
    if words:
        return not compile_terms(tuple(words)).found_in(plain_text(quote).text)
    return sum(map(str.isalpha, quote)) < MIN_LETTERS and quote.isascii()


def _overlaps(clause: Clause, report: str, span: tuple[int, int]) -> bool:
    common = report[max(clause.start, span[0]) : min(clause.end, span[1])]
    return any(map(str.isalnum, common))


def _says_nothing(reader: ClauseReader, clauses: Sequence[Clause]) -> bool:
    """Return whether clauses about the question state no finding: doubt, another time, or labels without a value."""
    about = [clause for clause in clauses if reader.concerns(clause)]
    labels = [labels_of(clause.text) for clause in clauses]
    is_joined = sum(map(len, (spans for spans, _ in labels))) > 1
    is_empty = any(spans and value >= len(clause.text) for clause, (spans, value) in zip(clauses, labels, strict=True))
    return any(not clause.is_finding for clause in about) or bool(about and (is_joined or is_empty))


def _is_elsewhere(reader: ClauseReader, statements: Sequence[Clause], first: Clause | None) -> bool:
    """Return whether only other clauses, and not the one before the quote, speak of the question."""
    about = [clause for clause in statements if reader.concerns(clause)]
    if not about or first is None:
        return False
    before = [clause for clause in about if clause.start <= first.start]
    return not before or statements.index(first) - statements.index(before[-1]) > 1


def _support_of_phrase(question: Question, language: Language, phrase: str, clauses: Sequence[Clause]) -> Support:
    text = " ".join(clause.text for clause in clauses)
    known = {word.casefold() for word in _WORD.findall(text)}
    words = [word.casefold() for word in _WORD.findall(plain_text(phrase).text)]
    long_words = [word for word in words if len(word) >= MIN_LETTERS]
    if any(word not in known and word.rstrip("s") not in known and f"{word}s" not in known for word in long_words):
        return "contradicted"
    if any(not clause.is_finding for clause in clauses):
        return "contradicted"
    subjects = compile_terms(question.rules.about).spans(text)
    if not subjects:
        return "not checkable"
    negation = Negation(language)
    return "contradicted" if all(negation.negates(text, span) for span in subjects) else "supported"
