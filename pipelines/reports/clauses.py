"""Split report text into clauses with character offsets.

Scanned reports have OCR errors: full stops at line ends within sentences, text in capitals, and
lists without punctuation. A plain sentence splitter would cut "no pleural. invasion" in two.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pipelines.reports.layout import lay_out
from pipelines.reports.plain_text import plain_text
from pipelines.reports.sections import section_starts

Span = tuple[int, int]

_MARK = re.compile(r"[.;?!:\n-]")
"""Characters at which a clause may end."""
_END = re.compile(
    r"(?P<inner>\.(?= [a-z][a-z /]{2,40} - ))"
    r"|(?P<stop>[.;?!](?=\s))"
    r"|(?P<blank>\n\s*\n)"
    r"|(?P<item>\n(?=\s*(?:[-*•]|\(?[A-Za-z0-9]{1,3}[.)])\s|\n?[ \t]*[A-Z][\w /()-]{2,60}:))"
    r"|(?P<dash>(?<=[^\n][ \t])-{1,2}(?=\s+[A-Z]))"
    r"|(?P<run>:\s*(?i:absent|present|none|none \w+|not? \w+|no|yes|negative|positive|identified|uninvolved|involved"
    r"|clear|free|indeterminate|n/a|fehlend|nein|ja|keine|negativ|positiv|afwezig|aanwezig|nee)"
    r" (?=[A-Z][\w /()-]{2,60}:))"
)
"""Ends of clauses; ``run`` is a yes or no before another label without a stop."""

_CONNECTORS = frozenset(
    (
        *("a", "an", "and", "any", "are", "as", "at", "be", "been", "but", "by", "differentiation", "does", "for"),
        *("from", "grade", "has", "have", "in", "into", "invades", "invading", "involving", "is", "its", "lymph"),
        *("no", "not", "of", "on", "or", "overlying", "than", "that", "the", "through", "to", "visceral", "was"),
        *("were", "which", "with", "within", "without"),
    )
)
"""Words that do not end a sentence: a full stop after one of them is a line end."""

_NEGATIONS = frozenset(("not", "without"))
"""Words that a sentence never ends with, whatever comes after."""

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
_EMPTY_LABEL = re.compile(r":[ \t]*(?:[-*•][ \t]*)?$")
_LABEL_LINE = re.compile(r"\s*(?:[-*•]\s+)?[A-Z][\w /()-]{2,60}:")
_LETTERS = re.compile(r"[A-Za-z]+")
_WORD = re.compile(r"\W*([A-Za-z]+)")
_SECTIONS = ("gross", "clinical", "addendum")
"""Sections with a weight of their own; all others are called ``micro``."""


@dataclass(frozen=True)
class Clause:
    """A sentence, list item or line of a report."""

    text: str
    """As it is read: ligatures and broken words put right, options not checked left out, a heading put before."""
    start: int
    """Position of its first character in the report."""
    end: int
    """Position after its last character in the report."""
    section: str
    """``gross``, ``clinical`` or ``addendum`` under such a heading, else ``micro``."""
    is_finding: bool = True
    """False if it expresses doubt, or speaks of another time, another person or all patients."""
    corrects: bool = False
    """True if it is part of an addendum that corrects the diagnosis."""


def split_clauses(report: str) -> list[Clause]:
    """Return the clauses of a report in order, without empty ones."""
    plain = plain_text(report)
    text = lay_out(plain.text)
    headings = [(start, name if name in _SECTIONS else "micro") for start, name in section_starts(text)]
    clauses = []
    section, next_heading = "micro", 0
    for start, end in _spans(text):
        while next_heading < len(headings) and headings[next_heading][0] < end:
            section = headings[next_heading][1]
            next_heading += 1
        words = text[start:end].strip()
        if words:
            offset = start + len(text[start:end]) - len(text[start:end].lstrip())
            clauses.append(Clause(words, *plain.source_span(offset, offset + len(words)), section))
    return clauses


def with_following(clauses: Sequence[Clause]) -> Iterable[tuple[Clause, Clause | None]]:
    """Return each clause with the next one."""
    return zip(clauses, [*clauses[1:], None], strict=False)


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
    for mark in _MARK.finditer(report):
        match = _END.match(report, mark.start()) if mark.start() >= start else None
        if match and _is_end(report, start, match):
            yield start, match.end()
            start = match.end()
    yield start, len(report)


def _is_end(report: str, start: int, match: re.Match[str]) -> bool:
    """Return whether the clause that begins at ``start`` ends at ``match``."""
    if match.lastgroup == "stop":
        return _is_sentence_end(report, match.start())
    if match.lastgroup != "run" and _EMPTY_LABEL.search(report, max(start, match.start() - 10), match.start()):
        return bool(_LABEL_LINE.match(report, match.end()))  # a value follows, unless the next line is a label
    return True


def _is_sentence_end(report: str, stop: int) -> bool:
    if report[stop] != ".":
        return True
    after = report[stop + 1 : stop + 60].lstrip()
    if not after:
        return True
    if after[0].islower():
        return False
    word_before = _WORD.match(report[max(0, stop - 30) : stop][::-1])
    if word_before and word_before.group(1)[::-1].lower() in _NEGATIONS:
        return False
    if _LABEL.match(after):
        return True
    word_after = _LETTERS.match(after)
    if word_after and word_after.group().isupper() and word_after.group().lower() in _CONTINUATIONS:
        return False
    return not (word_before and word_before.group(1)[::-1].lower() in _CONNECTORS)
