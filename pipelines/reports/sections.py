"""The sections of a report by their headings, wherever OCR has left them in the text."""

from __future__ import annotations

import re
from bisect import bisect_right

RANK = ("diagnosis", "microscopic", "synoptic", "addendum", "gross", "clinical")
"""Sections by what they are worth where they contradict each other, the best first."""

FIRST = "diagnosis"
"""The section of text before any heading: reports without headings are mostly diagnoses."""

# begins with a capital, and no sentence goes on behind it without a colon
_HEADING = re.compile(
    r"\b(?=(?-i:[A-Z]))(?:(?P<gross>(?:gross|macroscop(?:ic|y))(?:\s+(?:pathology\s+)?(?:description|examination|findings))?\s*[:.]"
    r"|gross\s+description|macroscopic\s+description|specimens?\s+received|tissue\s+description)"
    r"|(?P<clinical>clinical\s+(?:history|information|data|diagnosis)|pre-?operative\s+diagnosis"
    r"|intra-?operative\s+(?:consultation|diagnosis)|frozen\s+section\s+(?:diagnosis|report))"
    r"|(?P<microscopic>microscop(?:ic|y)|histolog(?:y|ic|ical)(?:\s+(?:description|findings|type|grade|class\w*))?)"
    r"|(?P<diagnosis>(?:final\s+)?(?:pathologic(?:al)?\s+)?diagnos[ie]s|comments?\s*:)"
    r"|(?P<synoptic>synoptic|tumou?r\s+summary)"
    r"|(?P<addendum>addendum))"
    r"(?!,?\s+(?-i:[a-z])(?![^.:;]{0,30}:))",
    re.IGNORECASE,
)


def section_starts(report: str) -> list[tuple[int, str]]:
    """Return where each section starts and what it is, one of `RANK`; text before the first is `FIRST`."""
    return [(match.start(), match.lastgroup or FIRST) for match in _HEADING.finditer(report)]


class Sections:
    """Tells in which section of a report a character stands."""

    def __init__(self, report: str) -> None:
        found = section_starts(report)
        self._starts = [start for start, _ in found]
        self._names = [FIRST, *(name for _, name in found)]

    def at(self, position: int) -> str:
        """Return the section of the character at ``position``."""
        return self._names[bisect_right(self._starts, position)]
