"""Cut a report that is longer than the model takes into parts, nothing left out.

A cut is made where a section starts; failing that at a paragraph, at a sentence, and between words
only where there is nothing better. Unless a section starts there, the part after a cut begins with
the end of the part before, so that a finding on the cut is whole in one of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain

from pipelines.reports.sections import section_starts
from pipelines.reports.sentences import clauses

OVERLAP = 300
"""Characters that a part repeats of the one before, at most: whole sentences where they fit."""
LEAST = 200
"""Characters below which a part is not cut further."""

Span = tuple[int, int]

SECTION, PARAGRAPH, SENTENCE, WORD = 3, 2, 1, 0


def parts(report: str, size: int) -> list[Span]:
    """Return spans that cover ``report`` in order, none longer than ``size`` characters.

    Parameters
    ----------
    size
        At least `LEAST`; what fits the model, see `size_that_fits`.
    """
    size = max(size, LEAST)
    places = _places(report)
    found: list[Span] = []
    start = 0
    while len(report) - start > size:
        end, kind = _cut(places, start, size)
        found.append((start, end))
        start = end if kind == SECTION else _overlap_start(places, start, end)
    return [*found, (start, len(report))]


def size_that_fits(length: int, tokens: int, overhead: int, room: int | None) -> int:
    """Return how many characters of a text may go into a part.

    Parameters
    ----------
    length
        Characters of the text that does not fit.
    tokens, overhead
        Tokens of the conversation with it and without it.
    room
        Tokens of a conversation that the model takes beside the reply, None where only the
        server knows.

    Returns
    -------
    A little less than the text's own ratio of characters to tokens allows, or a bit more than
    half of it where the room is not known. A part that is still too long is cut again.
    """
    half = int(0.55 * length)
    if room is None or tokens <= overhead:
        return half
    fits = int(0.9 * length * max(room - overhead, 0) / (tokens - overhead))
    return fits if tokens > room else min(fits, half)  # the estimate says that it fits, the server that it does not


def _places(report: str) -> list[tuple[int, int]]:
    """Return where the report can be cut and how good the place is, in order."""
    words = ((match.end(), WORD) for match in re.finditer(r"\s+", report))
    sentences = ((clause.start, SENTENCE) for clause in clauses(report))
    paragraphs = ((match.end(), PARAGRAPH) for match in re.finditer(r"\n\s*\n", report))
    headings = ((start, SECTION) for start, _ in section_starts(report))
    best: dict[int, int] = {}
    for position, kind in chain(words, sentences, paragraphs, headings):
        best[position] = max(kind, best.get(position, WORD))
    return sorted(best.items())


def _cut(places: list[tuple[int, int]], start: int, size: int) -> tuple[int, int]:
    """Return the best place in the second half of what fits; the last of equally good ones."""
    within = [(kind, position) for position, kind in places if start + size // 2 < position <= start + size]
    kind, position = max(within, default=(WORD, start + size))
    return position, kind


def _overlap_start(places: list[tuple[int, int]], start: int, end: int) -> int:
    """Return where the next part starts: with whole sentences where possible, always after ``start``."""
    earliest = max(start + 1, end - min(OVERLAP, (end - start) // 3))
    for kind in (SENTENCE, WORD):
        for position in _positions(places, kind):
            if earliest <= position < end:
                return position
    return end


def _positions(places: list[tuple[int, int]], kind: int) -> Iterator[int]:
    return (position for position, found in places if found >= kind)
