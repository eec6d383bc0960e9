"""The backend without a model: sentences on the subject, words of the question file, negation.

The baseline of every evaluation, and the default where there is no GPU and no server. Its
evidence is the clause that decided, so every answer is grounded by construction.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence

from pipelines.core.questions import UNKNOWN, Question, QuestionSet
from pipelines.reports.backends.base import Reply, Request
from pipelines.reports.clause_reader import ClauseReader, Finding
from pipelines.reports.phrase_finder import find_phrase
from pipelines.reports.sentences import Clause, clauses

SILENT = {"evidence": "", "answer": UNKNOWN}


class RulesBackend:
    """Answers questions by the ``rules`` of the question file."""

    model = "rules"
    repeatable = True
    batch_size = 64
    context = None

    def __init__(self, questions: QuestionSet) -> None:
        self.questions = questions
        self.readers = {q.id: ClauseReader(q, questions.language) for q in questions.questions}

    def complete(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply]]:
        """Yield the answers to each request in order."""
        for index, request in enumerate(requests):
            started = time.perf_counter()
            text = json.dumps(self.answer(request.report_text), ensure_ascii=False)
            yield index, Reply(text, seconds=time.perf_counter() - started)

    def count_tokens(self, request: Request) -> int | None:
        """Return 0: nothing is sent to a model."""
        return 0

    def answer(self, report_text: str) -> dict[str, dict[str, str]]:
        """Return answer and evidence by question id."""
        found = clauses(report_text)
        return {question.id: self._entry(question, found) for question in self.questions.questions}

    def _entry(self, question: Question, found: Sequence[Clause]) -> dict[str, str]:
        if question.kind != "phrase":
            return _decide(self.readers[question.id], found)
        phrase = find_phrase(question, self.questions.language, found)
        return {"evidence": phrase.evidence, "answer": phrase.text} if phrase else dict(SILENT)


def _decide(reader: ClauseReader, found: Sequence[Clause]) -> dict[str, str]:
    following = [*(clause.text for clause in found[1:]), ""]
    findings = [f for clause, after in zip(found, following, strict=False) if (f := reader.read(clause, after))]
    if not findings:
        return dict(SILENT)
    best = max(findings, key=lambda finding: _rank(reader.question, finding))
    return {"evidence": best.clause.text, "answer": best.answer}


def _rank(question: Question, finding: Finding) -> tuple[int, int, int]:
    """Return the order of findings: weight, then the preferred value, then the earlier clause."""
    prefer = question.rules.prefer
    preference = -prefer.index(finding.answer) if finding.answer in prefer else -len(prefer)
    return finding.weight, preference, -finding.clause.start
