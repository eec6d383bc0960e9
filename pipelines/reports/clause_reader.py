"""What one clause of a report says to one question, by words, negation and labels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.core.questions import Question
from pipelines.core.vocabulary import Language
from pipelines.reports.sentences import Clause
from pipelines.reports.terms import compile_terms, spans

LABEL = re.compile(r"^(?P<label>[^:]{3,90}):\s*(?P<value>\S.*)$", re.DOTALL)
"""A line of a synoptic report: ``Pleural invasion: not identified``."""
HEADING_WORDS = 5
"""Words of a clause that may be a heading of the next one."""
REACH = 70
"""Characters that a negation reaches over."""

Span = tuple[int, int]


@dataclass(frozen=True)
class Finding:
    """What a clause says, and how much it counts against other clauses."""

    answer: str
    clause: Clause
    weight: int
    term: Span
    """The word that decided, offsets in the clause."""


class ClauseReader:
    """Reads clauses for one question."""

    def __init__(self, question: Question, language: Language) -> None:
        self.question = question
        self.rules = question.rules
        self.language = language
        self.negated = dict(self.rules.negated)
        if question.kind == "presence":
            self.negated.setdefault("present", "absent")
        self.reversed = {denial: affirmed for affirmed, denial in self.negated.items()}

    def best(self, report_clauses: Sequence[Clause]) -> Finding | None:
        """Return the finding that counts most: by weight, then the preferred value, then the earlier clause."""
        following = [*(clause.text for clause in report_clauses[1:]), ""]
        read = (self.read(clause, after) for clause, after in zip(report_clauses, following, strict=False))
        return max((finding for finding in read if finding), key=self._rank, default=None)

    def _rank(self, finding: Finding) -> tuple[int, int, int]:
        prefer = self.rules.prefer
        preference = -prefer.index(finding.answer) if finding.answer in prefer else -len(prefer)
        return finding.weight, preference, -finding.clause.start

    def read(self, clause: Clause, following: str = "") -> Finding | None:
        """Return what ``clause`` says to the question, or None.

        ``following`` is the text of the next clause: the value, where ``clause`` is only a heading.
        """
        if self._is_void(clause.text):
            return None
        for value, answer in self.question.values.items():
            found = spans(answer.decisive, clause.text)
            if found:
                return Finding(value, clause, self._weight(clause) + 2, found[0])
        about = self._subject(clause.text)
        if about is None:
            return None
        bare = self._bare_answer(following)
        if bare and len(clause.text.split()) <= HEADING_WORDS:
            return Finding(bare, clause, self._weight(clause) + 1, about[0])
        label = LABEL.match(clause.text)
        if label and any(start < label.end("label") for start, _ in about):
            return self._labelled(clause, label)
        return self._prose(clause, about)

    def _is_void(self, text: str) -> bool:
        voiding = (self.language.boilerplate, self.language.uncertain, self.rules.skip)
        return any(compile_terms(words).search(text) for words in voiding)

    def _bare_answer(self, text: str) -> str | None:
        """Return the answer of a clause that is a bare yes or no."""
        if not self.negated or len(text.split()) > 3:
            return None
        affirmed, denied = next(iter(self.negated.items()))
        for words, answer in ((self.language.denial, denied), (self.language.affirmation, affirmed)):
            if compile_terms(words).match(text):
                return answer
        return None

    def _subject(self, text: str) -> list[Span] | None:
        """Return where the subject is named, outside of pieces that speak of something else."""
        if not self.rules.about:
            return [(0, len(text))]
        ignored = spans(self.rules.ignore, text)
        found = []
        for start, end in spans(self.rules.about, text):
            left, right = _piece(text, start, end)
            if not any(left <= a and b <= right for a, b in ignored):
                found.append((start, end))
        return found or None

    def _labelled(self, clause: Clause, label: re.Match[str]) -> Finding | None:
        """Read ``label: value``: the value decides, a bare yes or no answers the label."""
        start = label.start("value")
        text = clause.text[start:]
        weight = self._weight(clause) + 1
        hits = [(a, (b[0] + start, b[1] + start)) for a, b in self._hits(text)]
        if hits:
            return Finding(self._choose(hits), clause, weight, hits[0][1])
        for words, affirmed in ((self.language.denial, False), (self.language.affirmation, True)):
            found = compile_terms(words).match(text)
            if found and self.negated:
                affirm, deny = next(iter(self.negated.items()))
                return Finding(affirm if affirmed else deny, clause, weight, (start, start + found.end()))
        return self._prose(clause, spans(self.rules.about, clause.text), beyond=start)

    def _prose(self, clause: Clause, about: list[Span], beyond: int = 0) -> Finding | None:
        """Read a sentence by the words nearest to the subject that reach ``beyond`` a label, if there is one."""
        hits = [hit for hit in self._hits(clause.text) if hit[1][1] > beyond]
        if not hits:
            return None
        if not self.rules.about:
            return Finding(self._choose(hits), clause, self._weight(clause), hits[0][1])
        distance, answer, span = min((_distance(subject, span), a, span) for subject in about for a, span in hits)
        return Finding(answer, clause, self._weight(clause), span) if distance <= 2 * REACH else None

    def _hits(self, text: str) -> list[tuple[str, Span]]:
        """Return the answers that words of ``text`` speak for, negation applied."""
        hits = []
        for value, answer in self.question.values.items():
            for span in spans(answer.terms, text):
                hits.append((self._polarity(value, span, text), span))
        return sorted((hit for hit in hits if not _is_inside(hit[1], hits)), key=lambda hit: hit[1])

    def _polarity(self, value: str, span: Span, text: str) -> str:
        before = text[max(0, span[0] - REACH) : span[0]]
        if value in self.negated:
            after = text[span[1] : span[1] + REACH]
            if self._reaches(before) or self._denied_after(after):
                return self.negated[value]
        elif value in self.reversed and re.search(r"\bnot\s+(\w+\s+)?$", before, re.IGNORECASE):
            return self.reversed[value]
        return value

    def _reaches(self, before: str) -> bool:
        negations = spans(self.language.negation, before)
        if not negations:
            return False
        between = before[negations[-1][1] :]
        if compile_terms(self.language.scope_end).search(between):
            return False
        return "," not in between or bool(compile_terms(self.language.alternatives).search(between))

    def _denied_after(self, after: str) -> bool:
        piece = re.split(r"[,;]", after, maxsplit=1)[0]
        breaks = spans((*self.language.scope_end, *self.language.affirmed_after), piece)
        if breaks:
            piece = piece[: breaks[0][0]]
        return bool(compile_terms(self.language.denied_after).search(piece))

    def _choose(self, hits: list[tuple[str, Span]]) -> str:
        named = {answer for answer, _ in hits}
        if len(named) > 1 and self.rules.several:
            return self.rules.several
        preferred = [value for value in self.rules.prefer if value in named]
        return preferred[0] if preferred else hits[0][0]

    def _weight(self, clause: Clause) -> int:
        gross = clause.section == "gross" or compile_terms(self.language.gross).search(clause.text)
        if clause.section == "clinical":
            return -1
        return 0 if gross else 3


def _piece(text: str, start: int, end: int) -> Span:
    """Return the comma-separated piece of ``text`` around a span."""
    left = max(text.rfind(mark, 0, start) for mark in ",;:") + 1
    right = min((i for i in (text.find(mark, end) for mark in ",;:") if i >= 0), default=len(text))
    return left, right


def _is_inside(span: Span, hits: list[tuple[str, Span]]) -> bool:
    """Tell whether a longer hit covers ``span``: "well differentiated" in "moderately well differentiated"."""
    return any(a <= span[0] and span[1] <= b and (a, b) != span for _, (a, b) in hits)


def _distance(a: Span, b: Span) -> int:
    """Return the characters between two spans, 0 where they touch or overlap."""
    return max(a[0], b[0]) - min(a[1], b[1]) if max(a[0], b[0]) > min(a[1], b[1]) else 0
