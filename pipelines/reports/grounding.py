"""Find a quote in the report it was taken from."""

from __future__ import annotations

MIN_CHARACTERS = 2
"""Minimum number of letters and digits of a quote, for example ``R0``."""
REDACTION = "redacted"
"""Placeholder for blackened text; it is not counted."""


def locate(quote: str, report: str) -> tuple[int, int] | None:
    r"""Return the first span of ``report`` that matches ``quote``, or None.

    An exact match is preferred. Otherwise only letters and digits are compared, ignoring case
    and everything between them: OCR breaks lines inside words, adds stops and hyphens, and
    changes spaces. The span starts and ends at a word boundary.

    >>> locate("no pleural invasion", "There is NO pleural. inva-\nsion. Margins free.")
    (9, 32)
    """
    quote = quote.strip()
    letters, _ = _letters_and_digits(quote)
    if len(letters.replace(REDACTION, "")) < MIN_CHARACTERS:
        return None
    exact = _find_exact(report, quote)
    if exact is not None:
        return exact, exact + len(quote)
    text, positions = _letters_and_digits(report)
    at = text.find(letters)
    while at >= 0:
        start, end = positions[at], positions[at + len(letters) - 1] + 1
        if _at_word_boundaries(report, start, end):
            return start, end
        at = text.find(letters, at + 1)
    return None


def _find_exact(report: str, quote: str) -> int | None:
    at = report.find(quote)
    while at >= 0:
        if _at_word_boundaries(report, at, at + len(quote)):
            return at
        at = report.find(quote, at + 1)
    return None


def _at_word_boundaries(report: str, start: int, end: int) -> bool:
    inside_at_start = start > 0 and report[start - 1].isalnum() and report[start].isalnum()
    inside_at_end = end < len(report) and report[end].isalnum() and report[end - 1].isalnum()
    return not (inside_at_start or inside_at_end)


def _letters_and_digits(text: str) -> tuple[str, list[int]]:
    """Return the letters and digits of ``text`` in lower case, and the position of each in ``text``."""
    positions = [i for i, character in enumerate(text) if character.isalnum()]
    return "".join(_lower(text[i]) for i in positions), positions


def _lower(character: str) -> str:
    lower = character.lower()
    return lower if len(lower) == 1 else character
