"""Split a report that is too long for the model into parts, without leaving anything out.

A cut is made at the start of a section if possible, else at a paragraph, at a sentence, or between
words. Unless a section starts there, the next part repeats the end of the previous one, so that a
finding at the cut is complete in one of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain

from pipelines.reports.clauses import split_clauses
from pipelines.reports.sections import section_starts

OVERLAP = 300
"""Maximum number of characters that a part repeats from the previous one; whole sentences if they fit."""
MIN_PART = 200
"""Parts of this many characters or fewer are not cut further."""

Span = tuple[int, int]

SECTION, PARAGRAPH, SENTENCE, WORD = 3, 2, 1, 0
"""Kinds of places to cut at; a higher number is better."""


def split_report(report: str, size: int) -> list[Span]:
    """Return spans that cover ``report`` in order, each of at most ``size`` characters.

    Parameters
    ----------
    size
        At least `MIN_PART`. `part_size` returns the size that fits the model.
    """
    size = max(size, MIN_PART)
    places = _places(report)
    spans: list[Span] = []
    start = 0
    while len(report) - start > size:
        end, kind = _best_cut(places, start, size)
        spans.append((start, end))
        start = end if kind == SECTION else _overlap_start(places, start, end)
    return [*spans, (start, len(report))]


def part_size(length: int, tokens: int, overhead: int, room: int | None) -> int:
    """Return the maximum number of characters per part.

    Parameters
    ----------
    length
        Characters of the text that is too long.
    tokens, overhead
        Tokens of the conversation with the text and without it.
    room
        Maximum number of tokens of a conversation without the reply; None if only the server
        knows it.

    Returns
    -------
    90 % of the characters that fit, by the text's ratio of characters to tokens; 55 % of the
    text if the room is not known. A part that is still too long is cut again.
    """
    half = int(0.55 * length)
    if room is None or tokens <= overhead:
        return half
    fits = int(0.9 * length * max(room - overhead, 0) / (tokens - overhead))
    return fits if tokens > room else min(fits, half)  # the server refused text that should fit by our estimate


def _places(report: str) -> list[tuple[int, int]]:
    """Return the position and the kind of each place where the report can be cut, in order."""
    words = ((match.end(), WORD) for match in re.finditer(r"\s+", report))
    sentences = ((clause.start, SENTENCE) for clause in split_clauses(report))
    paragraphs = ((match.end(), PARAGRAPH) for match in re.finditer(r"\n\s*\n", report))
    headings = ((start, SECTION) for start, _ in section_starts(report))
    best: dict[int, int] = {}
    for position, kind in chain(words, sentences, paragraphs, headings):
        best[position] = max(kind, best.get(position, WORD))
    return sorted(best.items())


def _best_cut(places: list[tuple[int, int]], start: int, size: int) -> tuple[int, int]:
    """Return the best place in the second half of the characters that fit; the last one of equal kind."""
    candidates = [(kind, position) for position, kind in places if start + size // 2 < position <= start + size]
    kind, position = max(candidates, default=(WORD, start + size))
    return position, kind


def _overlap_start(places: list[tuple[int, int]], start: int, end: int) -> int:
    """Return where the next part starts: at a sentence if possible, and always after ``start``."""
    earliest = max(start + 1, end - min(OVERLAP, (end - start) // 3))
    for kind in (SENTENCE, WORD):
        for position in _positions(places, kind):
            if earliest <= position < end:
                return position
    return end


def _positions(places: list[tuple[int, int]], min_kind: int) -> Iterator[int]:
    return (position for position, kind in places if kind >= min_kind)
