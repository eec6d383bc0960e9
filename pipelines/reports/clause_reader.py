"""Read the answer to one question from a clause, by words, negation and labels (backend ``rules``)."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipelines.core.questions import Question
from pipelines.core.vocabulary import Language
from pipelines.reports.clauses import Clause, CommaPieces, Span
from pipelines.reports.term_patterns import compile_terms, contains_any, find_terms

LABEL = re.compile(r"^(?P<label>[^:]{3,90}):\s*(?P<value>\S.*)$", re.DOTALL)
"""A line of a synoptic report: ``Pleural invasion: not identified``."""
MAX_HEADING_WORDS = 5
"""Maximum number of words in a clause that may be a heading of the next one."""
NEGATION_REACH = 70
"""Maximum number of characters between a negation and the word it negates."""


@dataclass(frozen=True)
class Finding:
    """The answer that a clause gives, and its weight against other clauses."""

    answer: str
    clause: Clause
    weight: int
    term: Span
    """Span of the deciding word in the clause."""


class ClauseReader:
    """Reads clauses for one question."""

    def __init__(self, question: Question, language: Language) -> None:
        self.question = question
        self.rules = question.rules
        self.language = language
        self.negated = dict(self.rules.negated)
        if question.kind == "presence":
            self.negated.setdefault("present", "absent")
        self.affirmed = {negated: value for value, negated in self.negated.items()}

    def best(self, clauses: Sequence[Clause]) -> Finding | None:
        """Return the finding with the highest weight; of equal ones the preferred value, then the earlier clause."""
        following = [*(clause.text for clause in clauses[1:]), ""]
        findings = (self.read(clause, after) for clause, after in zip(clauses, following, strict=False))
        return max((finding for finding in findings if finding), key=self._rank, default=None)

    def _rank(self, finding: Finding) -> tuple[int, int, int]:
        prefer = self.rules.prefer
        preference = -prefer.index(finding.answer) if finding.answer in prefer else -len(prefer)
        return finding.weight, preference, -finding.clause.start

    def read(self, clause: Clause, following: str = "") -> Finding | None:
        """Return the finding in ``clause``, or None.

        ``following`` is the text of the next clause, which holds the answer if ``clause`` is only a heading.
        """
        if contains_any(clause.text, self.language.boilerplate, self.language.uncertain, self.rules.skip):
            return None
        for value, allowed in self.question.values.items():
            decisive = find_terms(allowed.decisive, clause.text)
            if decisive:
                return Finding(value, clause, self._weight(clause) + 2, decisive[0])
        subjects = self._find_subjects(clause.text)
        if subjects is None:
            return None
        bare = self._bare_answer(following)
        if bare and len(clause.text.split()) <= MAX_HEADING_WORDS:
            return Finding(bare, clause, self._weight(clause) + 1, subjects[0])
        label = LABEL.match(clause.text)
        if label and any(start < label.end("label") for start, _ in subjects):
            return self._read_labeled(clause, label)
        return self._read_sentence(clause, subjects)

    def _bare_answer(self, text: str) -> str | None:
        """Return the answer of a clause that is only a yes or no, else None."""
        if not self.negated or len(text.split()) > 3:
            return None
        yes, no = next(iter(self.negated.items()))
        for terms, answer in ((self.language.denial, no), (self.language.affirmation, yes)):
            if compile_terms(terms).match(text):
                return answer
        return None

    def _find_subjects(self, text: str) -> list[Span] | None:
        """Return the spans that name the subject, except in pieces with a term of ``ignore``; None without any."""
        if not self.rules.about:
            return [(0, len(text))]
        subjects = find_terms(self.rules.about, text)
        ignored = find_terms(self.rules.ignore, text) if subjects else []
        if ignored:
            pieces = CommaPieces(text)
            subjects = [span for span in subjects if not _has_span_within(ignored, *pieces.around(*span))]
        return subjects or None

    def _read_labeled(self, clause: Clause, label: re.Match[str]) -> Finding | None:
        """Read ``label: text``: by the terms in the text, else as a yes or no to the label."""
        start = label.start("value")
        text = clause.text[start:]
        weight = self._weight(clause) + 1
        hits = [(answer, (left + start, right + start)) for answer, (left, right) in self._find_answers(text)]
        if hits:
            return Finding(self._choose(hits), clause, weight, hits[0][1])
        for terms, is_yes in ((self.language.denial, False), (self.language.affirmation, True)):
            match = compile_terms(terms).match(text)
            if match and self.negated:
                yes, no = next(iter(self.negated.items()))
                return Finding(yes if is_yes else no, clause, weight, (start, start + match.end()))
        return self._read_sentence(clause, find_terms(self.rules.about, clause.text), beyond=start)

    def _read_sentence(self, clause: Clause, subjects: list[Span], beyond: int = 0) -> Finding | None:
        """Read a sentence by the term nearest to the subject; terms that end before ``beyond`` are skipped."""
        hits = [hit for hit in self._find_answers(clause.text) if hit[1][1] > beyond]
        if not hits:
            return None
        if not self.rules.about:
            return Finding(self._choose(hits), clause, self._weight(clause), hits[0][1])
        distance, answer, span = min((_nearest(subjects, span), answer, span) for answer, span in hits)
        return Finding(answer, clause, self._weight(clause), span) if distance <= 2 * NEGATION_REACH else None

    def _find_answers(self, text: str) -> list[tuple[str, Span]]:
        """Return the answers that terms in ``text`` indicate, after negation, with the spans of the terms."""
        hits = []
        for value, allowed in self.question.values.items():
            for span in find_terms(allowed.terms, text):
                hits.append((self._apply_negation(value, span, text), span))
        longest = _not_covered(span for _, span in hits)
        return sorted((hit for hit in self._not_ignored(hits, text) if hit[1] in longest), key=lambda hit: hit[1])

    def _not_ignored(self, hits: list[tuple[str, Span]], text: str) -> list[tuple[str, Span]]:
        """Return ``hits`` without those after a term of ``ignore`` in the same piece; only if there is no ``about``."""
        ignored = find_terms(self.rules.ignore, text) if hits and not self.rules.about else []
        if not ignored:
            return hits
        pieces = CommaPieces(text)
        return [hit for hit in hits if not _has_span_within(ignored, *pieces.around(*hit[1]), before=hit[1][1])]

    def _apply_negation(self, value: str, span: Span, text: str) -> str:
        before = text[max(0, span[0] - NEGATION_REACH) : span[0]]
        if value in self.negated:
            after = text[span[1] : span[1] + NEGATION_REACH]
            if self._is_negated_by(before) or self._is_denied_by(after):
                return self.negated[value]
        elif value in self.affirmed and re.search(r"\bnot\s+(\w+\s+)?$", before, re.IGNORECASE):
            return self.affirmed[value]
        return value

    def _is_negated_by(self, before: str) -> bool:
        negations = find_terms(self.language.negation, before)
        if not negations:
            return False
        between = before[negations[-1][1] :]
        if compile_terms(self.language.scope_end).search(between):
            return False
        return "," not in between or bool(compile_terms(self.language.alternatives).search(between))

    def _is_denied_by(self, after: str) -> bool:
        piece = re.split(r"[,;]", after, maxsplit=1)[0]
        breaks = find_terms((*self.language.scope_end, *self.language.affirmed_after), piece)
        if breaks:
            piece = piece[: breaks[0][0]]
        return bool(compile_terms(self.language.denied_after).search(piece))

    def _choose(self, hits: list[tuple[str, Span]]) -> str:
        answers = {answer for answer, _ in hits}
        if len(answers) > 1 and self.rules.several:
            return self.rules.several
        preferred = [value for value in self.rules.prefer if value in answers]
        return preferred[0] if preferred else hits[0][0]

    def _weight(self, clause: Clause) -> int:
        if clause.section == "clinical":
            return -1
        is_gross = clause.section == "gross" or contains_any(clause.text, self.language.gross)
        return 0 if is_gross else 3


def _not_covered(spans: Iterable[Span]) -> set[Span]:
    """Return the spans without those in longer ones: "well differentiated" in "moderately well differentiated"."""
    kept = set()
    furthest = -1
    for start, end in sorted(set(spans), key=lambda span: (span[0], -span[1])):
        if end > furthest:
            kept.add((start, end))
            furthest = end
    return kept


def _has_span_within(spans: Sequence[Span], left: int, right: int, before: int | None = None) -> bool:
    """Return whether one of ``spans`` lies between two positions, and starts before a third one if it is given.

    The spans are in order and do not overlap.
    """
    first = bisect_left(spans, (left, left))
    if first == len(spans) or spans[first][1] > right:
        return False
    return before is None or spans[first][0] < before


def _nearest(spans: Sequence[Span], to: Span) -> int:
    """Return the distance from ``to`` to the nearest of ``spans``, which are in order and do not overlap."""
    after = bisect_left(spans, to)
    return min(_distance(span, to) for span in spans[max(0, after - 1) : after + 1])


def _distance(a: Span, b: Span) -> int:
    """Return the number of characters between two spans, 0 if they touch or overlap."""
    return max(a[0], b[0]) - min(a[1], b[1]) if max(a[0], b[0]) > min(a[1], b[1]) else 0
