"""Find a quote in the report it was taken from."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice

from pipelines.reports.plain_text import plain_text

MIN_CHARACTERS = 2
"""Minimum number of letters and digits of a quote, for example ``R0``."""
REDACTION = "redacted"
"""Placeholder for blackened text; it is not counted."""

MAX_SPANS = 20
"""Maximum number of places in the report at which one quote is tried."""
MAX_FINDS = 50
"""Number of occurrences of a quote that are found with `str.find`, which is fast but quadratic for repetitive text."""


def locate(quote: str, report: str) -> tuple[int, int] | None:
    r"""Return the first span of ``report`` that matches ``quote``, or None.

    >>> locate("no pleural invasion", "There is NO pleural. inva-\nsion. Margins free.")
    (9, 32)
    """
    return next(locate_all(quote, report), None)


def locate_all(quote: str, report: str) -> Iterator[tuple[int, int]]:
    """Yield the spans of ``report`` that match ``quote``, exact matches first, at most `MAX_SPANS`.

    Otherwise only letters and digits are compared, ignoring case and everything between them: OCR breaks
    lines inside words, adds stops and hyphens, and changes spaces. Ligatures, accents and wide letters match
    their plain forms. A span starts and ends at a word boundary.
    """
    quote = quote.strip()
    letters, _ = _letters_and_digits(plain_text(quote).text)
    if not _is_long_enough(letters.replace(REDACTION, "")):
        return
    found: set[tuple[int, int]] = set()
    for span in chain(islice(_exact(report, quote), MAX_SPANS), islice(_by_letters(report, letters), MAX_SPANS)):
        if span not in found and len(found) < MAX_SPANS:
            found.add(span)
            yield span


def _is_long_enough(letters: str) -> bool:
    """Return whether a quote has enough letters; one sign of a script without spaces is a word."""
    return len(letters) >= MIN_CHARACTERS or any(map(_has_no_spaces, letters))


def _exact(report: str, quote: str) -> Iterator[tuple[int, int]]:
    for at in _occurrences(quote, report):
        if _at_word_boundaries(report, at, at + len(quote)):
            yield at, at + len(quote)


def _by_letters(report: str, letters: str) -> Iterator[tuple[int, int]]:
    plain = plain_text(report)
    text, positions = _letters_and_digits(plain.text)
    for at in _occurrences(letters, text):
        start, end = positions[at], positions[at + len(letters) - 1] + 1
        if _at_word_boundaries(plain.text, start, end):
            yield plain.source_span(start, end)


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
    return not (_is_inside_word(report, start) or _is_inside_word(report, end))


def _is_inside_word(report: str, at: int) -> bool:
    """Return whether the characters on both sides of a position belong to one word."""
    if not 0 < at < len(report):
        return False
    before, after = report[at - 1], report[at]
    return before.isalnum() and after.isalnum() and not (_has_no_spaces(before) or _has_no_spaces(after))


def _has_no_spaces(character: str) -> bool:
    """Return whether a character belongs to a script that writes words without spaces: Chinese, Japanese, Thai..."""
    return "\u2e80" <= character <= "\u9fff" or "\u0e00" <= character <= "\u0eff" or character >= "\U00020000"


def _letters_and_digits(text: str) -> tuple[str, list[int]]:
    """Return the letters and digits of ``text`` in lower case, and the position of each in ``text``."""
    positions = [i for i, character in enumerate(text) if character.isalnum()]
    return "".join(_lower(text[i]) for i in positions), positions


def _lower(character: str) -> str:
    lower = character.lower()
    return lower if len(lower) == 1 else character
