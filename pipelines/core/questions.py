"""Question sets: the questions to ask about every report, and the training phrase for each answer."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipelines.core.files import fingerprint
from pipelines.core.vocabulary import Language, Rules, StrictModel, Term

UNKNOWN = "unknown"
"""The answer where the report does not mention the subject of a question."""
UNKNOWN_PHRASE = "Unknown"
"""The training phrase of this answer."""

Identifier = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Line = Annotated[str, Field(min_length=1)]


class AllowedAnswer(StrictModel):
    """One answer that a presence or choice question allows (an entry of ``values`` in the file)."""

    meaning: Line
    """When this is the right answer; sent to the language model."""
    phrase: Line
    """The fine-grained phrase that describes this answer, for example ``no pleural invasion``."""
    wordings: tuple[Line, ...] = ()
    """Other ways to say the same, for example ``the pleura is free of tumor``; they supervise training too."""
    terms: tuple[Term, ...] = ()
    """Words that indicate this answer in a clause about the subject (backend ``rules``)."""
    decisive: tuple[Term, ...] = ()
    """Words that give this answer in any clause, for example ``R0`` (backend ``rules``)."""

    @property
    def texts(self) -> tuple[str, ...]:
        """The phrase, then the other wordings."""
        return (self.phrase, *self.wordings)


class Example(StrictModel):
    """A sentence of a report with its answer, sent to the language model."""

    report: Line
    answer: Line
    """A value of the question, ``unknown``, or for a phrase question the phrase."""
    evidence: str = ""
    """The part of ``report`` to quote; empty where the answer is ``unknown``."""


class Question(StrictModel):
    """One question to ask about every report."""

    id: Identifier
    question: Line
    """The question as sent to the language model."""
    prompt: Line
    """Short text for the text encoder: what the model looks for on the slide."""
    kind: Literal["presence", "choice", "phrase"]
    """``presence``: present or absent; ``choice``: one of ``values``; ``phrase``: words of the report."""
    values: dict[Identifier, AllowedAnswer] = Field(default_factory=dict)
    guidance: str = ""
    """Rules for borderline cases, sent to the language model."""
    examples: tuple[Example, ...] = ()
    rules: Rules = Rules()

    @property
    def answers(self) -> tuple[str, ...]:
        """The allowed answers with ``unknown`` last; empty for a phrase question."""
        return () if self.kind == "phrase" else (*self.values, UNKNOWN)

    def phrase(self, answer: str) -> str:
        """Return the training phrase of an answer."""
        if answer == UNKNOWN:
            return UNKNOWN_PHRASE
        return answer if self.kind == "phrase" else self.values[answer].phrase

    def __hash__(self) -> int:
        """Return a hash, so that what is prepared for a question can be kept; equal questions have equal ids."""
        return hash((self.id, self.question))

    @model_validator(mode="after")
    def _check(self) -> Question:
        if self.kind == "presence" and set(self.values) != {"present", "absent"}:
            raise ValueError("values: a presence question has exactly the values present and absent")
        if self.kind == "choice" and len(self.values) < 2:
            raise ValueError("values: a choice question needs at least two values")
        if self.kind == "phrase" and self.values:
            raise ValueError("values: a phrase question has no values")
        if UNKNOWN in self.values:
            raise ValueError(f"values: {UNKNOWN!r} is always allowed; leave it out of the values")
        self._check_texts()
        self._check_rules()
        for number, example in enumerate(self.examples):
            if self.answers and example.answer not in self.answers:
                raise ValueError(
                    f"examples.{number}.answer: {example.answer!r} is not one of {', '.join(self.answers)}"
                )
            if example.evidence not in example.report:
                raise ValueError(f"examples.{number}.evidence: not a verbatim part of the example's report")
            if (example.answer == UNKNOWN) != (not example.evidence):
                raise ValueError(f"examples.{number}.evidence: must be empty for {UNKNOWN} and only then")
        return self

    def _check_texts(self) -> None:
        """Check that no two texts are equal, whatever their case and white space: they could not be distinguished."""
        seen = {_plain(UNKNOWN_PHRASE): UNKNOWN}
        for name, allowed in self.values.items():
            for number, text in enumerate(allowed.texts):
                key = f"wordings.{number - 1}" if number else "phrase"
                earlier = seen.setdefault(_plain(text), f"{name}.{key}")
                if earlier != f"{name}.{key}":
                    raise ValueError(f"values.{name}.{key}: {text!r} is already the wording of {earlier}")

    def _check_rules(self) -> None:
        values_named = {
            "negated": [*self.rules.negated, *self.rules.negated.values()],
            "several": [self.rules.several] if self.rules.several else [],
            "prefer": list(self.rules.prefer),
        }
        for key, names in values_named.items():
            for name in names:
                if name not in self.values:
                    raise ValueError(f"rules.{key}: {name!r} is not a value of the question")


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(" .")


class QuestionSet(StrictModel):
    """The questions to ask about every report of a cohort, in order."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")]
    title: Line
    about: str = ""
    """The source of the questions."""
    language: Language = Language()
    questions: Annotated[tuple[Question, ...], Field(min_length=1)]

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the questions in order."""
        return tuple(question.id for question in self.questions)

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that change when anything in the set changes."""
        return fingerprint(self.model_dump(mode="json"))

    @model_validator(mode="after")
    def _check(self) -> QuestionSet:
        for name in self.ids:
            if self.ids.count(name) > 1:
                raise ValueError(f"questions: the id {name!r} appears twice")
        return self
