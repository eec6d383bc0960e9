"""Read the answer to one question from a clause, by words, negation and labels (backend ``rules``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain

from pipelines.core.questions import Question
from pipelines.core.vocabulary import Language
from pipelines.reports.clauses import Clause, CommaPieces, Span, with_following
from pipelines.reports.labels import LabelWords, after_label, labels_of
from pipelines.reports.negation import REACH, Negation
from pipelines.reports.spans import distance, has_span_within, nearest_distance, not_covered
from pipelines.reports.term_patterns import compile_terms

MAX_HEADING_WORDS = 5
"""Maximum number of words in a clause that may be a heading of the next one."""
MAX_BARE_WORDS = 4
"""Maximum number of words in a clause that is only a yes or no."""
MAX_ANSWERS = 2
"""Maximum number of answers in a clause about a question whose values are opposites; more are a list of all values."""
CORRECTION = 6
"""Added to the weight of an addendum that corrects the diagnosis; more than all other differences."""


@dataclass(frozen=True)
class Finding:
    """The answer that a clause gives, and its weight against other clauses."""

    answer: str
    clause: Clause
    weight: int
    term: Span
    """Span of the deciding word in ``clause.text``."""


class ClauseReader:
    """Reads clauses for one question."""

    def __init__(self, question: Question, language: Language) -> None:
        self.question = question
        self.rules = question.rules
        self.negated = dict(self.rules.negated)
        if question.kind == "presence":
            self.negated.setdefault("present", "absent")
        self.affirmed = {negated: value for value, negated in self.negated.items()}
        self._negation = Negation(language)
        self._denial, self._affirmation = compile_terms(language.denial), compile_terms(language.affirmation)
        self._affirmed = compile_terms(language.affirmed_after)
        self._labels, self._gross = LabelWords(language), compile_terms(language.gross)
        self._about, self._ignore = compile_terms(self.rules.about), compile_terms(self.rules.ignore)
        self._skip = compile_terms(self.rules.skip)
        self._terms = {value: compile_terms(allowed.terms) for value, allowed in question.values.items()}
        self._decisive = {value: compile_terms(allowed.decisive) for value, allowed in question.values.items()}
        subjects = [self.rules.about] if self.rules.about else [allowed.terms for allowed in question.values.values()]
        decisive = [allowed.decisive for allowed in question.values.values()]
        self._any_decisive = compile_terms(tuple(chain(*decisive)))
        self._relevant = compile_terms(tuple(chain(*subjects, *decisive)))

    def best(self, clauses: Sequence[Clause]) -> Finding | None:
        """Return the finding with the highest weight; of equal ones the preferred value, then the earlier clause."""
        findings = (self.read(clause, after) for clause, after in with_following(clauses))
        return max((finding for finding in findings if finding), key=self._rank, default=None)

    def _rank(self, finding: Finding) -> tuple[int, int, int]:
        prefer = self.rules.prefer
        preference = -prefer.index(finding.answer) if finding.answer in prefer else -len(prefer)
        return finding.weight, preference, -finding.clause.start

    def concerns(self, clause: Clause) -> bool:
        """Return whether a clause speaks of the subject of the question, or names one of its answers."""
        return self._relevant.found_in(clause.text)

    def read(self, clause: Clause, following: Clause | None = None) -> Finding | None:
        """Return the finding in ``clause``, or None.

        ``following`` is the next clause, which holds the answer if ``clause`` is only a heading.
        """
        lower = clause.text.lower()
        if not self._relevant.may_match(lower):
            return None
        text = clause.text
        if not clause.is_finding or self._skip.found_in(text):
            return None
        for value, pattern in self._decisive.items() if self._any_decisive.may_match(lower) else ():
            if spans := pattern.spans(text):
                return Finding(value, clause, self._weight(clause) + 2, spans[0])
        return self._read_terms(clause, following)

    def _read_terms(self, clause: Clause, following: Clause | None) -> Finding | None:
        text = clause.text
        subjects = self._find_subjects(text)
        if subjects is None:
            return None
        if following and len(text.split()) <= MAX_HEADING_WORDS:
            headed = self._read_heading(clause, following, subjects[0])
            if headed:
                return headed
        labels, value_start = labels_of(text, self._is_value)
        if not labels:
            return self._read_sentence(clause, subjects)
        if not self.rules.about:
            return self._read_labeled(clause, after_label(text, labels[0]), subjects)
        own = self._labels.own_label(text, labels)
        own_label = labels[own][0]
        subjects = [span for span in subjects if span[0] >= own_label]
        if not any(map(str.isalnum, text[value_start:])) and "+" not in text[value_start:]:
            return None
        if any(start < value_start for start, _ in subjects):
            if own > 0 and self._is_mixed(text[value_start:]):
                return None  # labels without values come before: which value belongs to which is not known
            yes = self._read_bare_yes(clause, own_label, value_start)
            return yes or self._read_labeled(clause, value_start, subjects)
        return self._read_sentence(clause, subjects, beyond=own_label) if subjects else None

    def _is_mixed(self, text: str) -> bool:
        return len({answer for answer, _ in self._find_answers(text)}) > 1

    def _read_heading(self, clause: Clause, following: Clause, subject: Span) -> Finding | None:
        """Read a short clause about the subject by the next clause: a yes or no, or a short answer without subject."""
        both = replace(clause, text=f"{clause.text.rstrip(' .:')}: {following.text}", end=following.end)
        weight = self._weight(clause) + 1
        text = following.text
        if self.rules.about and self._about.found_in(text):
            return None
        if answer := self._bare_answer(text):
            return Finding(answer, both, weight, subject)
        if not self.rules.about or len(text.split()) > MAX_HEADING_WORDS or ":" in text or not following.is_finding:
            return None
        hits = [] if self._find_answers(clause.text) else self._find_answers(text)
        return Finding(self._choose(hits), both, weight, subject) if hits else None

    def _read_bare_yes(self, clause: Clause, label: int, start: int) -> Finding | None:
        """Read ``present`` behind a label that names a finding, whatever comes after the next comma or stop."""
        text = clause.text[start:]
        names_finding = self._labels.names_finding(clause.text[label:start])
        span = self._affirmation.at_start(text) if self.negated and names_finding else None
        if not span or not _is_bare(text, span[1]):
            return None
        return Finding(next(iter(self.negated)), clause, self._weight(clause) + 1, (start, start + span[1]))

    def _is_value(self, text: str) -> bool:
        """Return whether a piece between colons starts with an answer."""
        text = text.strip()
        patterns = (self._denial, self._affirmation, *self._terms.values())
        return any(pattern.at_start(text) for pattern in patterns)

    def _bare_answer(self, text: str) -> str | None:
        """Return the answer of a clause that is only a yes or no, else None."""
        if not self.negated or not text or len(text.split()) > MAX_BARE_WORDS:
            return None
        yes, no = next(iter(self.negated.items()))
        for pattern, answer in ((self._denial, no), (self._affirmation, yes)):
            if pattern.at_start(text):
                return answer
        return None

    def _find_subjects(self, text: str) -> list[Span] | None:
        """Return the spans that name the subject, except in pieces with a term of ``ignore``; None without any."""
        if not self.rules.about:
            return [(0, len(text))]
        subjects = self._about.spans(text)
        ignored = self._ignore.spans(text) if subjects else []
        if ignored:
            pieces = CommaPieces(text)
            subjects = [span for span in subjects if not has_span_within(ignored, *pieces.around(*span))]
        return subjects or None

    def _read_labeled(self, clause: Clause, start: int, subjects: list[Span]) -> Finding | None:
        """Read the value that starts at ``start``: by its terms, else as a yes or no to the label."""
        text = clause.text[start:]
        weight = self._weight(clause) + (":" in clause.text[:start])
        hits = [(answer, (left + start, right + start)) for answer, (left, right) in self._find_answers(text)]
        if hits:
            return Finding(self._choose(hits), clause, weight, hits[0][1])
        for pattern, is_yes in ((self._denial, False), (self._affirmation, True)):
            match = pattern.at_start(text)
            is_clear = match and (_is_bare(text, match[1]) or self._affirmed.at_start(text))
            if match and self.negated and (is_clear or not is_yes or self.question.kind == "presence"):
                yes, no = next(iter(self.negated.items()))
                return Finding(yes if is_yes else no, clause, weight, (start, start + match[1]))
        return self._read_sentence(clause, subjects, beyond=start)

    def _read_sentence(self, clause: Clause, subjects: list[Span], beyond: int = 0) -> Finding | None:
        """Read a sentence by the term nearest to the subject; terms that end before ``beyond`` are skipped."""
        text = clause.text
        hits = [hit for hit in self._find_answers(text) if hit[1][1] > beyond]
        if not hits:
            return None
        if not self.rules.about:
            return Finding(self._choose(hits), clause, self._weight(clause), hits[0][1])
        gap, answer, span = min((nearest_distance(subjects, span), answer, span) for answer, span in hits)
        if gap > 2 * REACH:
            return None
        subject = min(subjects, key=lambda other: distance(other, span))
        if self._negation.contrasts(text, span, subject):
            answer = self.negated.get(answer, answer)
        return Finding(answer, clause, self._weight(clause), span)

    def _find_answers(self, text: str) -> list[tuple[str, Span]]:
        """Return the answers that terms in ``text`` indicate, after negation, with the spans of the terms."""
        hits: list[tuple[str, Span]] = []
        for value, pattern in self._terms.items():
            for span in pattern.spans(text):
                answer = self._apply_negation(value, span, text)
                hits += [(answer, span)] if answer else []
        if self.rules.negated and len({answer for answer, _ in hits}) > MAX_ANSWERS:
            return []  # the legend of a score
        longest = not_covered(span for _, span in hits)
        return sorted((hit for hit in self._not_ignored(hits, text) if hit[1] in longest), key=lambda hit: hit[1])

    def _not_ignored(self, hits: list[tuple[str, Span]], text: str) -> list[tuple[str, Span]]:
        """Return ``hits`` without those after a term of ``ignore`` in the same piece; only if there is no ``about``."""
        ignored = self._ignore.spans(text) if hits and not self.rules.about else []
        if not ignored:
            return hits
        pieces = CommaPieces(text)
        return [hit for hit in hits if not has_span_within(ignored, *pieces.around(*hit[1]), before=hit[1][1])]

    def _apply_negation(self, value: str, span: Span, text: str) -> str | None:
        """Return the value, its opposite if it is negated, or None if the set does not name the opposite."""
        if value in self.negated:
            return self.negated[value] if self._negation.negates(text, span) else value
        if value in self.affirmed and self._negation.follows_not(text, span):
            return self.affirmed[value]
        is_one_of_two = len(self._terms) == 2 and self.rules.about and not self.negated
        return None if is_one_of_two and self._negation.negates(text, span) else value

    def _choose(self, hits: list[tuple[str, Span]]) -> str:
        answers = {answer for answer, _ in hits}
        if len(answers) > 1 and self.rules.several:
            return self.rules.several
        preferred = [value for value in self.rules.prefer if value in answers]
        return preferred[0] if preferred else hits[0][0]

    def _weight(self, clause: Clause) -> int:
        correction = CORRECTION if clause.corrects else 0
        if clause.section == "clinical":
            return -1
        is_gross = clause.section == "gross" or self._gross.found_in(clause.text)
        return (0 if is_gross else 3) + correction


@lru_cache(maxsize=256)
def reader_of(question: Question, language: Language) -> ClauseReader:
    """Return the reader for a question, prepared only once."""
    return ClauseReader(question, language)


def _is_bare(text: str, end: int) -> bool:
    """Return whether words that end at ``end`` stand alone: nothing, a stop, a comma or a bracket follows."""
    return text[end:].lstrip()[:1] in ("", ",", ".", ";", "(", "-")
