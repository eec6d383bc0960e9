"""Find a quote in the report it was taken from."""

from __future__ import annotations

from collections.abc import Iterator

MIN_CHARACTERS = 2
"""Minimum number of letters and digits of a quote, for example ``R0``."""
REDACTION = "redacted"
"""Placeholder for blackened text; it is not counted."""

MAX_FINDS = 50
"""Number of occurrences of a quote that are found with `str.find`, which is fast but quadratic for repetitive text."""


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
    for at in _occurrences(letters, text):
        start, end = positions[at], positions[at + len(letters) - 1] + 1
        if _at_word_boundaries(report, start, end):
            return start, end
    return None


def _find_exact(report: str, quote: str) -> int | None:
    found = (at for at in _occurrences(quote, report) if _at_word_boundaries(report, at, at + len(quote)))
    return next(found, None)


def _occurrences(needle: str, text: str) -> Iterator[int]:
    """Yield every position of ``needle`` in ``text``, overlapping ones too, in time linear in both lengths."""
    at = -1
    for _ in range(MAX_FINDS):
        at = text.find(needle, at + 1)
        if at < 0:
            return
        yield at
    # Knuth, Morris and Pratt: each further call of `find` could compare the whole needle again
    borders, border = [0], 0
    for character in needle[1:]:
        while border and character != needle[border]:
            border = borders[border - 1]
        border += character == needle[border]
        borders.append(border)
    matched = 0
    for position in range(at + 1, len(text)):
        while matched and (matched == len(needle) or text[position] != needle[matched]):
            matched = borders[matched - 1]
        matched += text[position] == needle[matched]
        if matched == len(needle):
            yield position + 1 - matched


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
