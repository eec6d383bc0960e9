"""The backend without a model: sentences on the subject, words of the question file, negation.

The baseline of every evaluation, and the default where there is no GPU and no server. Its
evidence is the clause that decided, so every answer is grounded by construction.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.core.questions import UNKNOWN, Question, QuestionSet
from pipelines.core.vocabulary import Language
from pipelines.reports.backends.reader import ReportReader
from pipelines.reports.clause_reader import ClauseReader
from pipelines.reports.phrase_finder import find_phrase
from pipelines.reports.sentences import Clause, clauses


class RulesBackend(ReportReader):
    """Answers questions by the ``rules`` of the question file."""

    model = "rules"

    def __init__(self, questions: QuestionSet) -> None:
        self.questions = questions
        self.readers = {q.id: ClauseReader(q, questions.language) for q in questions.questions}

    def answer(self, report_text: str) -> dict[str, dict[str, str]]:
        """Return answer and evidence by question id."""
        found = clauses(report_text)
        return {question.id: self._entry(question, found) for question in self.questions.questions}

    def _entry(self, question: Question, found: Sequence[Clause]) -> dict[str, str]:
        if question.kind == "phrase":
            return phrase_entry(question, self.questions.language, found)
        best = self.readers[question.id].best(found)
        return {"evidence": best.clause.text, "answer": best.answer} if best else silent()


def phrase_entry(question: Question, language: Language, found: Sequence[Clause]) -> dict[str, str]:
    """Return answer and evidence to a phrase question."""
    phrase = find_phrase(question, language, found)
    return {"evidence": phrase.evidence, "answer": phrase.text} if phrase else silent()


def silent() -> dict[str, str]:
    """Return the answer to a question on which the report is silent."""
    return {"evidence": "", "answer": UNKNOWN}
