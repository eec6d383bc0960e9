"""Find the sections of a report by their headings, which OCR may leave within a line."""

from __future__ import annotations

import re
from bisect import bisect_right

SECTION_PRIORITY = ("diagnosis", "microscopic", "synoptic", "addendum", "gross", "clinical")
"""Sections in order of priority, for answers that contradict each other."""

DEFAULT_SECTION = "diagnosis"
"""Section of text before the first heading; reports without headings are mostly diagnoses."""

# starts with a capital, and no sentence continues after it without a colon
_HEADING = re.compile(
    r"\b(?=(?-i:[A-Z]))(?:(?P<gross>(?:gross|macroscop(?:ic|y))(?:\s+(?:pathology\s+)?(?:description|examination|findings))?\s*[:.]"
    r"|gross\s+description|macroscopic\s+description|ma[ck]roskopie|macroscopie|specimens?\s+received|tissue\s+description)"
    r"|(?P<clinical>clinical\s+(?:history|information|data|diagnosis)|pre-?operative\s+diagnosis"
    r"|klinische\s+(?:angaben|daten|gegevens|vraagstelling|fragestellung)|anamnese|voorgeschiedenis|vorgeschichte"
    r"|intra-?operative\s+(?:consultation|diagnosis)|frozen\s+section\s+(?:diagnosis|report))"
    r"|(?P<microscopic>microscop(?:ic|y)|mikroskopie|microscopie|histologie|histolog(?:y|ic|ical)(?:\s+(?:description|findings|type|grade|class\w*))?)"
    r"|(?P<diagnosis>(?:final\s+)?(?:pathologic(?:al)?\s+)?diagnos[ie]s|diagnose\s*:|beurteilung\s*:|conclusie\s*:|comments?\s*:)"
    r"|(?P<synoptic>synoptic|tumou?r\s+summary)"
    r"|(?P<addendum>addendum|nachtrag|nachbericht|aanvulling))"
    r"(?!,?\s+(?-i:[a-z])(?![^.:;]{0,30}:))",
    re.IGNORECASE,
)


def section_starts(report: str) -> list[tuple[int, str]]:
    """Return the start and the name (one of `SECTION_PRIORITY`) of each section; `DEFAULT_SECTION` comes before."""
    return [(match.start(), match.lastgroup or DEFAULT_SECTION) for match in _HEADING.finditer(report)]


class Sections:
    """Maps positions in a report to sections."""

    def __init__(self, report: str) -> None:
        starts = section_starts(report)
        self._starts = [start for start, _ in starts]
        self._names = [DEFAULT_SECTION, *(name for _, name in starts)]

    def at(self, position: int) -> str:
        """Return the section of the character at ``position``."""
        return self._names[bisect_right(self._starts, position)]
