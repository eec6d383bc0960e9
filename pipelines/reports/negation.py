"""Find out whether words of a clause are negated."""

from __future__ import annotations

import re

from pipelines.core.vocabulary import Language
from pipelines.reports.clauses import Span
from pipelines.reports.term_patterns import compile_terms

REACH = 70
"""Maximum number of characters between a negation and the word it negates."""
_MIN_WORDS = 3
"""Minimum number of words before a dash for which they are a label of their own, not the rest of the finding."""


class Negation:
    """The negating words of a language."""

    def __init__(self, language: Language) -> None:
        self._before = compile_terms(language.negation)
        self._prefix = compile_terms(language.prefix)
        self._opposite = compile_terms(language.opposite)
        self._after = compile_terms(language.denied_after)
        self._scope_end = compile_terms(language.scope_end)
        self._affirmed_or_end = compile_terms((*language.scope_end, *language.affirmed_after))
        self._alternatives = compile_terms(language.alternatives)
        self._contrast = compile_terms(language.contrast)

    def negates(self, text: str, span: Span) -> bool:
        """Return whether the words at ``span`` are negated by words before or after them."""
        before = text[max(0, span[0] - REACH) : span[0]]
        return (
            self._is_negated_by(before)
            or self._has_prefix(before)
            or self._is_denied_by(text[span[1] : span[1] + REACH])
        )

    def follows_not(self, text: str, span: Span) -> bool:
        """Return whether "not" is at most one word before ``span``."""
        before = text[max(0, span[0] - REACH) : span[0]]
        found = self._opposite.spans(before)
        between = before[found[-1][1] :] if found else ""
        return bool(found) and between[-1:].isspace() and _is_one_word(between)

    def contrasts(self, text: str, span: Span, subject: Span) -> bool:
        """Return whether words between a finding and a later subject say that it does not concern the subject."""
        return span[1] <= subject[0] and self._contrast.found_in(text[span[1] : subject[0]])

    def _is_negated_by(self, before: str) -> bool:
        negations = self._before.spans(before)
        if not negations:
            return False
        between = before[negations[-1][1] :]
        if self._scope_end.found_in(between):
            return False
        return "," not in between or self._alternatives.found_in(between)

    def _has_prefix(self, before: str) -> bool:
        prefixes = self._prefix.spans(before)
        return bool(prefixes) and not before[prefixes[-1][1] :].strip(" -")

    def _is_denied_by(self, after: str) -> bool:
        piece = re.split(r"[,;]", after, maxsplit=1)[0]
        before_dash, dash, _ = piece.partition(" - ")
        if dash and len(before_dash.split()) >= _MIN_WORDS:
            piece = before_dash
        breaks = self._affirmed_or_end.spans(piece)
        return self._after.found_in(piece[: breaks[0][0]] if breaks else piece)


def _is_one_word(text: str) -> bool:
    words = text.split()
    return not words or (len(words) == 1 and words[0].isalnum())
