"""Question sets: what is asked of a report and how each answer becomes a training phrase.

A set is a YAML file that needs no Python to write. Shipped sets live in ``question_sets/``
and are known by their file name, for example ``lung``.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from pipelines.core.errors import SettingsError
from pipelines.core.files import fingerprint, replacing
from pipelines.core.vocabulary import Language, Part, Rules, Term
from pipelines.core.yaml_file import read_yaml

UNKNOWN = "unknown"
"""The answer to a question on which the report is silent."""
UNKNOWN_PHRASE = "Unknown"
"""The description of such an answer."""

SHOWN_ERRORS = 5
"""Errors of a file that are told at a time."""

Identifier = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Line = Annotated[str, Field(min_length=1)]


class Value(Part):
    """One answer that a presence or choice question allows."""

    meaning: Line
    """What a report says when this is the answer; told to the language model."""
    phrase: Line
    """The fine-grained phrase that supervises training, for example ``no pleural invasion``."""
    terms: tuple[Term, ...] = ()
    """Words that speak for this answer in a clause on the subject (backend ``rules``)."""
    decisive: tuple[Term, ...] = ()
    """Words that give this answer wherever they stand, for example ``R0`` (backend ``rules``)."""


class Example(Part):
    """A sentence of a report and its answer, shown to the language model."""

    report: Line
    answer: Line
    """A value of the question, ``unknown``, or for a phrase question the phrase."""
    evidence: str = ""
    """The part of ``report`` to quote; empty where unknown."""


class Question(Part):
    """One question to every report."""

    id: Identifier
    question: Line
    """As asked of the language model."""
    prompt: Line
    """Short text for the text encoder: what the model looks for on the slide."""
    kind: Literal["presence", "choice", "phrase"]
    """``presence``: present or absent; ``choice``: one of ``values``; ``phrase``: words of the report."""
    values: dict[Identifier, Value] = Field(default_factory=dict)
    guidance: str = ""
    """Rules for borderline cases, told to the language model."""
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

    @model_validator(mode="after")
    def _check(self) -> Question:
        if self.kind == "presence" and set(self.values) != {"present", "absent"}:
            raise ValueError("values: a presence question has exactly the values present and absent")
        if self.kind == "choice" and len(self.values) < 2:
            raise ValueError("values: a choice question needs at least two values")
        if self.kind == "phrase" and self.values:
            raise ValueError("values: a phrase question has no values")
        if UNKNOWN in self.values:
            raise ValueError(f"values: {UNKNOWN!r} is always allowed and is not a value")
        self._check_rules()
        for number, example in enumerate(self.examples):
            if self.answers and example.answer not in self.answers:
                raise ValueError(
                    f"examples.{number}.answer: {example.answer!r} is not one of {', '.join(self.answers)}"
                )
            if example.evidence not in example.report:
                raise ValueError(f"examples.{number}.evidence: not a verbatim part of the example's report")
            if (example.answer == UNKNOWN) != (not example.evidence):
                raise ValueError(f"examples.{number}.evidence: needed for every answer but {UNKNOWN}, empty for it")
        return self

    def _check_rules(self) -> None:
        named = {
            "negated": [*self.rules.negated, *self.rules.negated.values()],
            "several": [self.rules.several] if self.rules.several else [],
            "prefer": list(self.rules.prefer),
        }
        for field, names in named.items():
            for name in names:
                if name not in self.values:
                    raise ValueError(f"rules.{field}: {name!r} is not a value of the question")


class QuestionSet(Part):
    """The questions asked of every report of a cohort, in order."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")]
    title: Line
    about: str = ""
    """Where the questions come from."""
    language: Language = Language()
    questions: Annotated[tuple[Question, ...], Field(min_length=1)]

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the questions in order."""
        return tuple(question.id for question in self.questions)

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that differ when anything in the set differs."""
        return fingerprint(self.model_dump(mode="json"))

    @model_validator(mode="after")
    def _check(self) -> QuestionSet:
        for name in self.ids:
            if self.ids.count(name) > 1:
                raise ValueError(f"questions: the id {name!r} stands twice")
        return self


def shipped_sets() -> dict[str, Path]:
    """Return the question sets that come with the program: name -> file."""
    folder = Path(str(files("pipelines.core"))) / "question_sets"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_questions(source: str | Path) -> QuestionSet:
    """Load a question set by the name of a shipped one, or from a YAML file.

    A file may start from another set with ``extends: lung``; its questions come after.

    Raises
    ------
    SettingsError
        Naming the file, the field and what is wrong with it.
    """
    path = _find(source)
    data = read_yaml(path, expected="'name:', 'title:' and 'questions:'")
    base = data.pop("extends", None)
    if base is not None:
        earlier = load_questions(path.parent / base if str(base).endswith((".yaml", ".yml")) else str(base))
        data = {**data, "questions": [*earlier.model_dump(mode="json")["questions"], *data.get("questions", [])]}
    try:
        return QuestionSet.model_validate(data)
    except ValidationError as error:
        found = [_where(one["loc"], data) + _problem(one) for one in error.errors()]
        more = f"; and {len(found) - SHOWN_ERRORS} more" if len(found) > SHOWN_ERRORS else ""
        raise SettingsError(
            f"{path}: " + "; ".join(found[:SHOWN_ERRORS]) + more,
            hint="`five questions show lung` shows a set that is whole; docs/reports.md explains every key",
        ) from None


def write_questions(questions: QuestionSet, path: Path) -> None:
    """Write a set whole to ``path``; `load_questions` reads it back equal."""
    with replacing(path) as part:
        text = yaml.safe_dump(
            questions.model_dump(mode="json", exclude_defaults=True), sort_keys=False, allow_unicode=True, width=120
        )
        part.write_text(text, encoding="utf-8")


def _find(source: str | Path) -> Path:
    shipped = shipped_sets()
    if str(source) in shipped:
        return shipped[str(source)]
    path = Path(source)
    if not path.is_file():
        raise SettingsError(
            f"{source}: no such question set", hint=f"give a YAML file, or one of {', '.join(shipped) or 'none'}"
        )
    return path


_REMEDIES = {
    "missing": "this key is missing",
    "string_type": "not text; put yes, no, on, off and numbers between quotes",
    "string_too_short": "must not be empty",
    "tuple_type": "not a list; write [a, b] or one '- ' line each",
    "dict_type": "not a mapping of 'name: value' lines",
    "model_type": "not a mapping of 'name: value' lines",
    "string_pattern_mismatch": "use lower-case letters and digits, starting with a letter "
    "(_ between words; in the name of a set -)",
}
"""What to tell of an error by pydantic's name for it; its own words otherwise."""


def _problem(error: Mapping[str, Any]) -> str:
    """Return what is wrong and, where it is not plain from that, how to put it right."""
    kind = error["type"]
    if kind == "extra_forbidden":
        known = {
            name for part in (QuestionSet, Question, Value, Example, Rules, Language) for name in part.model_fields
        }
        close = get_close_matches(str(error["loc"][-1]), sorted(known), n=1)
        return "no such key here" + (f"; did you mean {close[0]!r}?" if close else "")
    if kind == "string_pattern_mismatch" and error["loc"][-1] == "[key]":
        return f"the name of a value: {_REMEDIES[kind]}"
    return str(_REMEDIES.get(kind) or error["msg"].removeprefix("Value error, "))


def _where(location: tuple[int | str, ...], data: Mapping[str, Any]) -> str:
    """Return ``questions.pleura.values: `` with the id in place of the number of a question."""
    parts = [str(part) for part in location]
    if len(location) > 1 and location[0] == "questions" and isinstance(location[1], int):
        question = data["questions"][location[1]]
        if isinstance(question, dict) and "id" in question:
            parts[1] = str(question["id"])
    return ".".join(parts) + ": " if parts else ""
