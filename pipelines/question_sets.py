"""Stage: look at a question set: is it sound, what is a language model told, what does the text encoder see."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipelines.core.questions import Question, QuestionSet, load_questions, shipped_sets
from pipelines.reports.backends.rules import RulesBackend
from pipelines.reports.instructions import system_message


@dataclass(frozen=True)
class CheckedSet:
    """A question set that can be used, and what its author may want to know."""

    questions: QuestionSet
    notes: tuple[str, ...]
    """What is allowed but probably not meant."""


def check_questions(source: str | Path) -> CheckedSet:
    """Load a question set and look for what is allowed but probably not meant.

    Raises
    ------
    SettingsError
        The set cannot be used; names file, question and key.
    """
    questions = load_questions(source)
    notes = [note for question in questions.questions for note in _notes(question)]
    return CheckedSet(questions, (*notes, *_examples_misread(questions)))


def shipped_titles() -> dict[str, str]:
    """Return name -> title of the question sets that come with the program."""
    return {name: load_questions(name).title for name in shipped_sets()}


def told_to_a_model(questions: QuestionSet) -> str:
    """Return what a language model is told before it gets a report."""
    return system_message(questions)


def _notes(question: Question) -> Iterator[str]:
    phrases = [value.phrase for value in question.values.values()]
    if len(set(phrases)) < len(phrases):
        yield f"{question.id}: two values have the same phrase, so training cannot tell them apart"
    if not question.examples:
        yield f"{question.id}: no examples; language models answer better with one for each value"
    for name, value in question.values.items():
        implied = {*question.rules.negated.values(), question.rules.several}
        if question.kind == "presence":
            implied.add("absent")
        if not value.terms and not value.decisive and name not in implied:
            yield f"{question.id}.values.{name}: no terms, so the backend rules never gives this answer"
    if question.kind == "phrase" and not question.rules.about:
        yield f"{question.id}: no rules.about, so the backend rules never finds a phrase"


def _examples_misread(questions: QuestionSet) -> Iterator[str]:
    """Yield the worked examples that the backend ``rules`` reads otherwise than their author."""
    rules = RulesBackend(questions)
    for question in questions.questions:
        for number, example in enumerate(question.examples, start=1):
            given = rules.answer(example.report)[question.id]["answer"]
            if question.answers and given != example.answer:
                yield f"{question.id}: the backend rules reads example {number} as {given}, not {example.answer}"
