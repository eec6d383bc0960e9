"""Check question sets, and show the instructions that a language model gets for them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipelines.core.question_files import load_questions, shipped_sets
from pipelines.core.questions import Question, QuestionSet
from pipelines.core.vocabulary import Language
from pipelines.reports.answers import ground
from pipelines.reports.backends.rules import RulesBackend
from pipelines.reports.instructions import system_message
from pipelines.reports.reply_reader import BackendAnswer
from pipelines.reports.term_patterns import compile_terms


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
    notes = [note for question in questions.questions for note in _notes(question, questions.language)]
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


def _notes(question: Question, language: Language) -> Iterator[str]:
    if not question.examples:
        yield f"{question.id}: no examples; language models answer better with one example per value"
    for value, allowed in question.values.items():
        implied = {*question.rules.negated.values(), question.rules.several}
        if question.kind == "presence":
            implied.add("absent")
        if not allowed.terms and not allowed.decisive and value not in implied:
            yield f"{question.id}.values.{value}: no terms, so the backend rules never gives this answer"
    if (
        question.kind == "choice"
        and question.rules.about
        and not question.rules.negated
        and _can_be_denied(question, language)
    ):
        yield (
            f"{question.id}: no rules.negated, so the backend rules takes a negated value for the value itself"
            " (not involved: involved); write for example negated: {involved: clear}"
        )
    if question.kind == "phrase" and not question.rules.about:
        yield f"{question.id}: no rules.about, so the backend rules never finds a phrase"


def _can_be_denied(question: Question, language: Language) -> bool:
    """Return whether one value is the opposite of another: there are two, or one has a word such as "free"."""
    denial = compile_terms(language.denial)
    terms = [term for allowed in question.values.values() for term in allowed.terms]
    return len(question.values) == 2 or any(denial.at_start(term) for term in terms)


def _misread_examples(questions: QuestionSet) -> Iterator[str]:
    """Yield a note for each example that ``rules`` answers differently, or whose quote it finds to contradict it."""
    rules = RulesBackend(questions)
    for question in questions.questions:
        for number, example in enumerate(question.examples, start=1):
            answer = rules.answer(example.report)[question.id]["answer"]
            if question.answers and answer != example.answer:
                yield f"{question.id}: the backend rules reads example {number} as {answer}, not {example.answer}"
            given = BackendAnswer(answer=example.answer, evidence=example.evidence)
            if not ground(question, given, example.report, language=questions.language).grounded:
                yield f"{question.id}: the quote of example {number} does not prove the answer {example.answer}"
