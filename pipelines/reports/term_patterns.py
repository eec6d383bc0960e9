"""Search text for the terms of a question file."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import regex

from pipelines.core.errors import ReportError
from pipelines.core.vocabulary import expression_of
from pipelines.reports.needles import needles_of

MAX_SECONDS = 5.0
"""CPU seconds per search with a regular expression of a question set; some take time without end."""
_GAP = r"[\s.,]{0,2}[\s-]\s*(?:-\s*)?"
"""Matches the space in a term: white space, a hyphen, or a line end with the stop that OCR adds."""

Span = tuple[int, int]


class _TermPattern:
    """One term. Its expression is compiled when a text may contain it; the search of a user's own one is limited."""

    def __init__(self, term: str) -> None:
        expression = expression_of(term)
        self._is_own = expression is not None
        self._source = f"(?:{expression})" if expression is not None else _pattern_of_words(term)
        self.needles = tuple(tuple(texts) for texts in needles_of(self._source))
        self._compiled: Any = None

    def may_match(self, lower: str) -> bool:
        """Return whether a text can contain the term; ``lower`` is the text in lower case."""
        for texts in self.needles:  # written out, because generators take three times as long
            for text in texts:
                if text in lower:
                    break
            else:
                return False
        return True

    def spans(self, text: str) -> list[Span]:
        """Return the spans of the term in ``text``."""
        compiled, limit = self._searcher()
        try:
            return [match.span() for match in compiled.finditer(text, **limit)]
        except TimeoutError:
            raise _too_slow() from None

    def find(self, text: str, *, at_start: bool = False) -> Span | None:
        """Return the first span of the term, or None; with ``at_start`` only one at the start of ``text``."""
        compiled, limit = self._searcher()
        try:
            match = compiled.match(text, **limit) if at_start else compiled.search(text, **limit)
        except TimeoutError:
            raise _too_slow() from None
        return match.span() if match else None

    def _searcher(self) -> tuple[Any, dict[str, float]]:
        if self._compiled is None:
            self._compiled = regex.compile(self._source, regex.IGNORECASE)
        return self._compiled, {"timeout": MAX_SECONDS} if self._is_own else {}


class TermPatterns:
    """The terms of one list, searched for without regard to case, the longest term first.

    Raises
    ------
    ReportError
        By all searches: a regular expression of the question set takes too long on this text.
    """

    def __init__(self, terms: Iterable[str]) -> None:
        self._patterns = [_TermPattern(term) for term in sorted(terms, key=len, reverse=True)]
        by_needle: dict[str, list[_TermPattern]] = {}
        for pattern in self._patterns:
            for text in pattern.needles[0] if pattern.needles else [""]:
                by_needle.setdefault(text, []).append(pattern)
        self._first_needles = list(by_needle.items())

    def may_match(self, lower: str) -> bool:
        """Return whether a text can contain one of the terms; ``lower`` is the text in lower case."""
        for text, patterns in self._first_needles:
            if text in lower:
                for pattern in patterns:
                    if pattern.may_match(lower):
                        return True
        return False

    def spans(self, text: str) -> list[Span]:
        """Return the spans of the terms in ``text``, in order and without overlap."""
        return _without_overlap([pattern.spans(text) for pattern in self._candidates(text)])

    def found_in(self, text: str) -> bool:
        """Return whether ``text`` contains one of the terms."""
        return any(pattern.find(text) for pattern in self._candidates(text))

    def at_start(self, text: str) -> Span | None:
        """Return the span of the longest term at the start of ``text``, or None."""
        found = (pattern.find(text, at_start=True) for pattern in self._candidates(text))
        return next((span for span in found if span), None)

    def _candidates(self, text: str) -> list[_TermPattern]:
        lower = text.lower()
        found = []
        for needle, patterns in self._first_needles:
            if needle in lower:
                found += [pattern for pattern in patterns if pattern not in found and pattern.may_match(lower)]
        return sorted(found, key=self._patterns.index) if len(found) > 1 else found


def _too_slow() -> ReportError:
    return ReportError(f"a regular expression of the question set takes more than {MAX_SECONDS:g} s on this text")


def _without_overlap(found: list[list[Span]]) -> list[Span]:
    """Return the spans of several terms in order; of overlapping ones the first."""
    if len(found) < 2:
        return found[0] if found else []
    kept: list[Span] = []
    ranked = sorted((start, rank, end) for rank, spans in enumerate(found) for start, end in spans)
    for start, _, end in ranked:
        span = (start, end)
        if not kept or span[0] >= kept[-1][1]:
            kept.append(span)
    return kept


@lru_cache(maxsize=4096)
def compile_terms(terms: tuple[str, ...]) -> TermPatterns:
    """Return the patterns of a list of terms, prepared only once."""
    return TermPatterns(terms)


def _pattern_of_words(term: str) -> str:
    words = (re.escape(word).replace(r"\*", r"\w*") for word in term.split())
    return rf"(?<!\w){_GAP.join(words)}(?!\w)"


def find_terms(terms: Iterable[str], text: str) -> list[Span]:
    """Return the spans of ``terms`` in ``text``, in order and without overlap."""
    return compile_terms(tuple(terms)).spans(text)


def contains_any(text: str, *term_lists: tuple[str, ...]) -> bool:
    """Return whether ``text`` contains a term of any of the lists."""
    return any(compile_terms(terms).found_in(text) for terms in term_lists)
