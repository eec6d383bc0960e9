"""Backend ``rules``: finds answers by the words of the question file and by negation, without a model.

It is the default, and the baseline of every evaluation. Its evidence is the clause that decided,
so that every answer is grounded.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.core.questions import UNKNOWN, Question, QuestionSet
from pipelines.core.vocabulary import Language
from pipelines.reports.backends.report_reader import ReportReader
from pipelines.reports.clause_reader import reader_of
from pipelines.reports.clauses import Clause
from pipelines.reports.phrase_finder import find_phrase
from pipelines.reports.statements import read_statements


class RulesBackend(ReportReader):
    """Answers questions by the ``rules`` of the question file."""

    model = "rules"

    def __init__(self, questions: QuestionSet) -> None:
        self.questions = questions
        self.readers = {q.id: reader_of(q, questions.language) for q in questions.questions}

    def answer(self, report_text: str) -> dict[str, dict[str, str]]:
        """Return question id -> ``answer`` and ``evidence``."""
        clauses = read_statements(report_text, self.questions.language)
        return {question.id: self._entry(question, clauses, report_text) for question in self.questions.questions}

    def _entry(self, question: Question, clauses: Sequence[Clause], report_text: str) -> dict[str, str]:
        if question.kind == "phrase":
            return phrase_entry(question, self.questions.language, clauses)
        best = self.readers[question.id].best(clauses)
        return (
            {"evidence": report_text[best.clause.start : best.clause.end], "answer": best.answer}
            if best
            else unknown_entry()
        )


def phrase_entry(question: Question, language: Language, clauses: Sequence[Clause]) -> dict[str, str]:
    """Return ``answer`` and ``evidence`` for a phrase question."""
    phrase = find_phrase(question, language, clauses)
    return {"evidence": phrase.evidence, "answer": phrase.text} if phrase else unknown_entry()


def unknown_entry() -> dict[str, str]:
    """Return the entry of a question that the report does not answer."""
    return {"evidence": "", "answer": UNKNOWN}
