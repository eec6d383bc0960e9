"""Split report text into clauses with character offsets, tolerant to what OCR leaves behind.

Scanned reports carry full stops at line ends in the middle of sentences, text in capitals, and
lists without punctuation; a plain sentence splitter cuts "no pleural. invasion" in two.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pipelines.reports.sections import section_starts

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
"""Words a sentence does not end with: a full stop after one is a line end."""

_CONTINUATIONS = frozenset(
    (
        *("and", "are", "at", "differentiated", "identified", "in", "invasion", "involved", "involvement", "is"),
        *("lymphatic", "noted", "of", "or", "present", "pleura", "pleural", "seen", "surface", "to", "was", "were"),
        *("with", "without"),
    )
)
"""Words a sentence does not start with: a full stop before one in capitals is a line end."""

_LABEL = re.compile(r"[A-Z0-9][\w /().-]{1,50}:")
"""The beginning of a line of a synoptic report."""

_OWN_NAME = ("gross", "clinical")
"""Sections that count less; all others are ``micro``."""


@dataclass(frozen=True)
class Clause:
    """A piece of a report that is read on its own."""

    text: str
    start: int
    """First character in the report."""
    section: str
    """``gross``, ``clinical`` or ``micro``: the heading it stands under; ``micro`` before any heading."""

    @property
    def end(self) -> int:
        """The character after the clause in the report."""
        return self.start + len(self.text)


def clauses(report: str) -> list[Clause]:
    """Return the clauses of a report in order; empty ones are left out."""
    headings = [(start, name if name in _OWN_NAME else "micro") for start, name in section_starts(report)]
    found = []
    section, next_heading = "micro", 0
    for start, end in _spans(report):
        while next_heading < len(headings) and headings[next_heading][0] < end:
            section = headings[next_heading][1]
            next_heading += 1
        text = report[start:end].strip()
        if text:
            offset = start + len(report[start:end]) - len(report[start:end].lstrip())
            found.append(Clause(text, offset, section))
    return found


def _spans(report: str) -> Iterator[tuple[int, int]]:
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
