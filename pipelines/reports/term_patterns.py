"""Search text for the terms of a question file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, Protocol

import regex

from pipelines.core.errors import ReportError
from pipelines.core.vocabulary import expression_of

MAX_SECONDS = 5.0
"""CPU seconds per search with the regular expressions of a question set; some take time without end."""
_GAP = r"[\s.,]{0,2}[\s-]\s*(?:-\s*)?"
"""Matches the space in a term: white space, a hyphen, or a line end with the stop that OCR adds."""


class TermPattern(Protocol):
    """What `compile_terms` returns: the methods of a compiled pattern that readers of reports use.

    Raises
    ------
    ReportError
        A regular expression of the question set takes too long on this text.
    """

    def finditer(self, text: str, /) -> Iterator[Any]:
        """Yield the matches in ``text``."""

    def search(self, text: str, /) -> Any:
        """Return the first match in ``text``, or None."""

    def match(self, text: str, /) -> Any:
        """Return the match at the start of ``text``, or None."""


class _BoundedPattern:
    """A pattern with regular expressions that users wrote; a search stops after `MAX_SECONDS`."""

    def __init__(self, alternatives: str) -> None:
        self._compiled = regex.compile(alternatives, regex.IGNORECASE)

    def finditer(self, text: str, /) -> Iterator[Any]:
        try:
            yield from self._compiled.finditer(text, timeout=MAX_SECONDS)
        except TimeoutError:
            raise _too_slow() from None

    def search(self, text: str, /) -> Any:
        try:
            return self._compiled.search(text, timeout=MAX_SECONDS)
        except TimeoutError:
            raise _too_slow() from None

    def match(self, text: str, /) -> Any:
        try:
            return self._compiled.match(text, timeout=MAX_SECONDS)
        except TimeoutError:
            raise _too_slow() from None


def _too_slow() -> ReportError:
    return ReportError(f"a regular expression of the question set takes more than {MAX_SECONDS:g} s on this text")


@lru_cache(maxsize=1024)
def compile_terms(terms: tuple[str, ...]) -> TermPattern:
    """Return one case-insensitive pattern that matches any of ``terms``, the longest first."""
    if not terms:
        return re.compile(r"(?!)")
    alternatives = "|".join(_pattern(term) for term in sorted(terms, key=len, reverse=True))
    if any(expression_of(term) is not None for term in terms):
        return _BoundedPattern(alternatives)
    return re.compile(alternatives, re.IGNORECASE)


def _pattern(term: str) -> str:
    expression = expression_of(term)
    if expression is not None:
        return f"(?:{expression})"
    words = (re.escape(word).replace(r"\*", r"\w*") for word in term.split())
    return rf"(?<!\w){_GAP.join(words)}(?!\w)"


def find_terms(terms: Iterable[str], text: str) -> list[tuple[int, int]]:
    """Return the spans of ``terms`` in ``text``, in order and without overlap."""
    return [match.span() for match in compile_terms(tuple(terms)).finditer(text)]


def contains_any(text: str, *term_lists: tuple[str, ...]) -> bool:
    """Return whether ``text`` contains a term of any of the lists."""
    return any(compile_terms(terms).search(text) for terms in term_lists)
