"""Search text for the terms of a question file."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

_GAP = r"[\s.,]{0,2}[\s-]\s*(?:-\s*)?"
"""Matches the space in a term: white space, a hyphen, or a line end with the stop that OCR adds."""


@lru_cache(maxsize=1024)
def compile_terms(terms: tuple[str, ...]) -> re.Pattern[str]:
    """Return one case-insensitive pattern that matches any of ``terms``, the longest first."""
    if not terms:
        return re.compile(r"(?!)")
    alternatives = "|".join(_pattern(term) for term in sorted(terms, key=len, reverse=True))
    return re.compile(alternatives, re.IGNORECASE)


def _pattern(term: str) -> str:
    if len(term) > 2 and term.startswith("/") and term.endswith("/"):
        return f"(?:{term[1:-1]})"
    words = (re.escape(word).replace(r"\*", r"\w*") for word in term.split())
    return rf"(?<!\w){_GAP.join(words)}(?!\w)"


def find_terms(terms: Iterable[str], text: str) -> list[tuple[int, int]]:
    """Return the spans of ``terms`` in ``text``, in order and without overlap."""
    return [match.span() for match in compile_terms(tuple(terms)).finditer(text)]


def contains_any(text: str, *term_lists: tuple[str, ...]) -> bool:
    """Return whether ``text`` contains a term of any of the lists."""
    return any(compile_terms(terms).search(text) for terms in term_lists)
