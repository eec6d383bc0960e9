"""Check question sets, and show the instructions that a language model gets for them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipelines.core.question_files import load_questions, shipped_sets
from pipelines.core.questions import Question, QuestionSet
from pipelines.reports.backends.rules import RulesBackend
from pipelines.reports.instructions import system_message


@dataclass(frozen=True)
class CheckedSet:
    """A valid question set, with notes for its author."""

    questions: QuestionSet
    notes: tuple[str, ...]
    """Things that are allowed but probably a mistake."""


def check_questions(source: str | Path) -> CheckedSet:
    """Load a question set and note what is allowed but probably a mistake.

    Raises
    ------
    SettingsError
        The set is not valid; the message names the file, the question and the key.
    """
    questions = load_questions(source)
    notes = [note for question in questions.questions for note in _notes(question)]
    return CheckedSet(questions, (*notes, *_misread_examples(questions)))


@dataclass(frozen=True)
class SetSummary:
    """What `five questions list` prints about a question set."""

    title: str
    ids: tuple[str, ...]
    """The ids of its questions in order."""
    answers: int
    """Number of answers, without ``unknown``."""
    wordings: int
    """Number of texts for these answers, phrases included."""


def shipped_summaries() -> dict[str, SetSummary]:
    """Return name -> summary of the question sets that are installed with the program."""
    return {name: _summary(load_questions(name)) for name in shipped_sets()}


def _summary(questions: QuestionSet) -> SetSummary:
    answers = [allowed for question in questions.questions for allowed in question.values.values()]
    n_wordings = sum(len(allowed.texts) for allowed in answers)
    return SetSummary(questions.title, questions.ids, len(answers), n_wordings)


def model_instructions(questions: QuestionSet) -> str:
    """Return the instructions that a language model gets before the report."""
    return system_message(questions)


def _notes(question: Question) -> Iterator[str]:
    if not question.examples:
        yield f"{question.id}: no examples; language models answer better with one example per value"
    for value, allowed in question.values.items():
        implied = {*question.rules.negated.values(), question.rules.several}
        if question.kind == "presence":
            implied.add("absent")
        if not allowed.terms and not allowed.decisive and value not in implied:
            yield f"{question.id}.values.{value}: no terms, so the backend rules never gives this answer"
    if question.kind == "phrase" and not question.rules.about:
        yield f"{question.id}: no rules.about, so the backend rules never finds a phrase"


def _misread_examples(questions: QuestionSet) -> Iterator[str]:
    """Yield a note for each example that the backend ``rules`` answers differently."""
    rules = RulesBackend(questions)
    for question in questions.questions:
        for number, example in enumerate(question.examples, start=1):
            answer = rules.answer(example.report)[question.id]["answer"]
            if question.answers and answer != example.answer:
                yield f"{question.id}: the backend rules reads example {number} as {answer}, not {example.answer}"
