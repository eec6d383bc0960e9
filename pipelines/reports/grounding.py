"""Find a quote in the report it was taken from."""

from __future__ import annotations

MIN_CHARACTERS = 2
"""Letters and digits a quote needs to prove anything, for example ``R0``."""
REDACTION = "redacted"
"""The word that stands for blackened text and proves nothing."""


def locate(quote: str, report: str) -> tuple[int, int] | None:
    r"""Return the first span of ``report`` that is ``quote``, or None.

    An exact match wins. Otherwise letters and digits must agree in order whatever stands
    between them and whatever their case: OCR breaks lines inside words, adds stops and
    hyphens there and changes spaces. The span starts and ends with a whole word.

    >>> locate("no pleural invasion", "There is NO pleural. inva-\nsion. Margins free.")
    (9, 32)
    """
    quote = quote.strip()
    wanted, _ = _squeezed(quote)
    if len(wanted.replace(REDACTION, "")) < MIN_CHARACTERS:
        return None
    exact = _whole_word(report, quote)
    if exact is not None:
        return exact, exact + len(quote)
    text, positions = _squeezed(report)
    at = text.find(wanted)
    while at >= 0:
        start, end = positions[at], positions[at + len(wanted) - 1] + 1
        if _at_word_edges(report, start, end):
            return start, end
        at = text.find(wanted, at + 1)
    return None


def _whole_word(report: str, quote: str) -> int | None:
    at = report.find(quote)
    while at >= 0:
        if _at_word_edges(report, at, at + len(quote)):
            return at
        at = report.find(quote, at + 1)
    return None


def _at_word_edges(report: str, start: int, end: int) -> bool:
    inside_at_start = start > 0 and report[start - 1].isalnum() and report[start].isalnum()
    inside_at_end = end < len(report) and report[end].isalnum() and report[end - 1].isalnum()
    return not (inside_at_start or inside_at_end)


def _squeezed(text: str) -> tuple[str, list[int]]:
    """Return the lower-case letters and digits of ``text`` and where each stands in it."""
    positions = [i for i, character in enumerate(text) if character.isalnum()]
    return "".join(_lower(text[i]) for i in positions), positions


def _lower(character: str) -> str:
    lower = character.lower()
    return lower if len(lower) == 1 else character
