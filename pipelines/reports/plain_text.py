"""Undo what typesetting and scanning do to text, so that the same words are always the same characters."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_BROKEN_WORD = re.compile(r"(?<![\w-])([^\W\d_]+[a-zäöüß])(-[ \t]*\r?\n[ \t]*)(?=[a-zäöüß])")
"""A word in small letters that a line end cuts: the part before the hyphen, and what is between the parts."""
_INVISIBLE = re.compile("\xad[ \\t]*\\r?\\n[ \\t]*|[\xad\u200b-\u200f\u2060\ufeff]+")
"""Soft hyphens, with the line end that they mark, and characters without width."""
_CLUSTER = re.compile(r"[^\x00-\x7f]|[\x00-\x7f](?=[\u0300-\u036f\u3099\u309a])")
_MARKS = re.compile(r"[\u0300-\u036f\u3099\u309a]*")
_SIGNS = str.maketrans(
    dict.fromkeys("‐‑‒–—―−", "-") | dict.fromkeys("‘’‚‛", "'") | dict.fromkeys("“”„", '"') | {"…": " "}
)
"""Signs that the normal form of Unicode leaves as they are, or turns into stops."""
_WHOLE_WORDS = frozenset(
    (
        *("well", "poorly", "moderately", "non", "low", "high", "intermediate", "tumor", "small", "large", "clear"),
        *("cell", "spindle", "signet", "extra", "peri", "intra", "lymph", "grade", "stage", "end", "side", "post"),
    )
)
"""Words that keep the hyphen at a line end: ``well-differentiated``."""


@dataclass(frozen=True)
class PlainText:
    """Text in one form, and where its characters are in the source."""

    text: str
    _starts: Sequence[int]
    _ends: Sequence[int]
    """Span of the source that each character comes from."""

    def source_span(self, start: int, end: int) -> tuple[int, int]:
        """Return the span in the source of ``text[start:end]``, which is not empty."""
        return self._starts[start], self._ends[end - 1]


def plain_text(source: str) -> PlainText:
    r"""Return ``source`` with ligatures, accents, widths and signs in one form (NFKC), and broken words joined.

    >>> plain_text("in\ufb01ltrates the pleu-\nra").text
    'infiltrates the pleura'
    """
    if source.isascii() and not ("\n" in source and _BROKEN_WORD.search(source)):
        return PlainText(source, range(len(source)), range(1, len(source) + 1))
    pieces: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    at = 0
    for start, end, replacement in [*sorted([*_removed(source), *_changed(source)]), (len(source), len(source), "")]:
        if start < at:
            continue
        pieces += source[at:start], replacement
        starts += *range(at, start), *([start] * len(replacement))
        ends += *range(at + 1, start + 1), *([end] * len(replacement))
        at = end
    return PlainText("".join(pieces), starts, ends)


def _removed(source: str) -> Iterator[tuple[int, int, str]]:
    for match in _INVISIBLE.finditer(source):
        yield *match.span(), ""
    for match in _BROKEN_WORD.finditer(source):
        yield *match.span(2), "-" if match.group(1).lower() in _WHOLE_WORDS else ""


def _changed(source: str) -> Iterator[tuple[int, int, str]]:
    for match in _CLUSTER.finditer(source):
        marks = _MARKS.match(source, match.end())
        end = marks.end() if marks else match.end()
        character = source[match.start() : end]
        plain = unicodedata.normalize("NFKC", character.translate(_SIGNS))
        if plain != character:
            yield match.start(), end, plain
