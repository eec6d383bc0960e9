"""Find the labels at the start of a line, such as ``Margins: distal:``."""

from __future__ import annotations

import re
from collections.abc import Callable

from pipelines.core.vocabulary import Language
from pipelines.reports.clauses import Span
from pipelines.reports.term_patterns import compile_terms

MAX_LABEL = 90
"""Maximum number of characters of a label."""
_SEPARATOR = re.compile(r"(?<!\d):|:(?!\d)|(?<=\w)\s-{1,2}\s")
_MAX_DASH_WORDS = 5
"""Maximum number of words before a dash for which they are a label."""
_BULLET = re.compile(r"\s*(?:[-*•]\s+)*")


def labels_of(text: str, is_value: Callable[[str], bool] = lambda _: False) -> tuple[list[Span], int]:
    """Return the spans of the labels at the start of ``text``, and the position where the value starts.

    ``is_value`` says that a piece between two colons is a value already, as in ``Margins: free, closest: 2 cm``.

    >>> labels_of("Margins: distal: free")
    ([(0, 7), (9, 15)], 17)
    """
    if ":" not in text and " -" not in text:
        return [], 0
    labels: list[Span] = []
    start = _skip_bullets(text, 0)
    for match in _SEPARATOR.finditer(text):
        label = text[start : match.start()]
        is_dash = ":" not in match.group()
        if not 2 < len(label.strip()) <= MAX_LABEL or not any(map(str.isalpha, label)):
            break
        if (is_dash and len(label.split()) > _MAX_DASH_WORDS) or (labels and is_value(label)):
            break
        labels.append((start, match.start()))
        start = _skip_bullets(text, match.end())
    return labels, start


def _skip_bullets(text: str, at: int) -> int:
    bullets = _BULLET.match(text, at)
    return bullets.end() if bullets else at


def after_label(text: str, label: Span) -> int:
    """Return where the text behind a label starts."""
    separator = _SEPARATOR.match(text, label[1])
    return _skip_bullets(text, separator.end() if separator else label[1])


class LabelWords:
    """Decides whether a label names a finding of its own, or belongs to the label before."""

    def __init__(self, language: Language) -> None:
        self._heads = compile_terms(language.heads)
        self._qualifiers = compile_terms(language.qualifiers)

    def names_finding(self, label: str) -> bool:
        """Return whether a label has a word such as "invasion" or "status"."""
        return self._heads.found_in(label)

    def continues(self, label: str) -> bool:
        """Return whether a label belongs to the one before, such as "distal" after "Margins"."""
        label = label.strip()
        starts_small = label[:1].islower()
        whole = self._qualifiers.at_start(label)
        if whole and whole[1] == len(label):
            return True
        return not self.names_finding(label) and (starts_small or self._qualifiers.found_in(label))

    def own_label(self, text: str, labels: list[Span]) -> int:
        """Return which of several labels the value is about: the last that does not belong to the one before."""
        own = [n for n, label in enumerate(labels) if n == 0 or not self.continues(text[slice(*label)])]
        return own[-1]
