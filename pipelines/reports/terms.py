"""Words to look for in a report, as question files write them, turned into regular expressions."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

_GAP = r"[\s.,]{0,2}[\s-]\s*(?:-\s*)?"
"""What may stand where a term has a space: white space, a line end that OCR marked with a stop, a hyphen."""


@lru_cache(maxsize=1024)
def compile_terms(terms: tuple[str, ...]) -> re.Pattern[str]:
    """Return one case-insensitive pattern that finds any of ``terms``, longest first."""
    if not terms:
        return re.compile(r"(?!)")
    alternatives = "|".join(_pattern(term) for term in sorted(terms, key=len, reverse=True))
    return re.compile(alternatives, re.IGNORECASE)


def _pattern(term: str) -> str:
    if len(term) > 2 and term.startswith("/") and term.endswith("/"):
        return f"(?:{term[1:-1]})"
    words = (re.escape(word).replace(r"\*", r"\w*") for word in term.split())
    return rf"(?<!\w){_GAP.join(words)}(?!\w)"


def spans(terms: Iterable[str], text: str) -> list[tuple[int, int]]:
    """Return where any of ``terms`` stands in ``text``, in order, without overlap."""
    return [match.span() for match in compile_terms(tuple(terms)).finditer(text)]
