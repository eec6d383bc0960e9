"""Split report text into clauses with character offsets.

Scanned reports have OCR errors: full stops at line ends within sentences, text in capitals, and
lists without punctuation. A plain sentence splitter would cut "no pleural. invasion" in two.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from pipelines.reports.sections import section_starts

Span = tuple[int, int]

_END = re.compile(
    r"(?P<stop>[.;?!](?=\s))"
    r"|(?P<blank>\n\s*\n)"
    r"|(?P<item>\n(?=\s*(?:[-*•]|\(?[A-Za-z0-9]{1,3}[.)])\s|\n?[A-Z][\w /()-]{2,60}:))"
    r"|(?P<dash>\s-{1,2}(?=\s+[A-Z]))"
)
"""Places where a clause may end."""

_CONNECTORS = frozenset(
    (
        *("a", "an", "and", "any", "are", "as", "at", "be", "been", "but", "by", "differentiation", "does", "for"),
        *("from", "grade", "has", "have", "in", "into", "invades", "invading", "involving", "is", "its", "lymph"),
        *("no", "not", "of", "on", "or", "overlying", "than", "that", "the", "through", "to", "visceral", "was"),
        *("were", "which", "with", "within", "without"),
    )
)
"""Words that do not end a sentence: a full stop after one of them is a line end."""

_CONTINUATIONS = frozenset(
    (
        *("and", "are", "at", "differentiated", "identified", "in", "invasion", "involved", "involvement", "is"),
        *("lymphatic", "noted", "of", "or", "present", "pleura", "pleural", "seen", "surface", "to", "was", "were"),
        *("with", "without"),
    )
)
"""Words that do not start a sentence: a full stop before one of them in capitals is a line end."""

_LABEL = re.compile(r"[A-Z0-9][\w /().-]{1,50}:")
"""Start of a line in a synoptic report."""

_LESSER_SECTIONS = ("gross", "clinical")
"""Sections with less weight; all others are called ``micro``."""


@dataclass(frozen=True)
class Clause:
    """A sentence, list item or line of a report."""

    text: str
    start: int
    """Position of its first character in the report."""
    section: str
    """``gross`` or ``clinical`` under such a heading, else ``micro``."""

    @property
    def end(self) -> int:
        """Position after its last character in the report."""
        return self.start + len(self.text)


def split_clauses(report: str) -> list[Clause]:
    """Return the clauses of a report in order, without empty ones."""
    headings = [(start, name if name in _LESSER_SECTIONS else "micro") for start, name in section_starts(report)]
    clauses = []
    section, next_heading = "micro", 0
    for start, end in _spans(report):
        while next_heading < len(headings) and headings[next_heading][0] < end:
            section = headings[next_heading][1]
            next_heading += 1
        text = report[start:end].strip()
        if text:
            offset = start + len(report[start:end]) - len(report[start:end].lstrip())
            clauses.append(Clause(text, offset, section))
    return clauses


class CommaPieces:
    """Finds the pieces of a text between commas, semicolons and colons; the text is searched for them only once."""

    def __init__(self, text: str, *, end_marks: str = ",;:") -> None:
        """Search ``text``; pieces end at one of ``end_marks`` and always start after the last of ``,;:``."""
        self._length = len(text)
        self._starts = [match.end() for match in re.finditer("[,;:]", text)]
        self._ends = [at - 1 for at in self._starts if text[at - 1] in end_marks]

    def around(self, start: int, end: int) -> Span:
        """Return the piece that contains the given span."""
        before, after = bisect_right(self._starts, start), bisect_left(self._ends, end)
        return (
            self._starts[before - 1] if before else 0,
            self._ends[after] if after < len(self._ends) else self._length,
        )


def _spans(report: str) -> Iterator[Span]:
    start = 0
    for match in _END.finditer(report):
        if match.lastgroup == "stop" and not _is_sentence_end(report, match.start()):
            continue
        yield start, match.end()
        start = match.end()
    yield start, len(report)


def _is_sentence_end(report: str, stop: int) -> bool:
    if report[stop] != ".":
        return True
    after = report[stop + 1 : stop + 60].lstrip()
    if not after:
        return True
    word_after = re.match(r"[A-Za-z]+", after)
    before = re.search(r"([A-Za-z]+)\W*$", report[max(0, stop - 30) : stop])
    if after[0].islower():
        return False
    if _LABEL.match(after):
        return True
    if word_after and word_after.group().isupper() and word_after.group().lower() in _CONTINUATIONS:
        return False
    return not (before and before.group(1).lower() in _CONNECTORS)
