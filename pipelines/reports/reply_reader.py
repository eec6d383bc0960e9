"""Read the reply of a backend: find the JSON object in it, and the answer and quote to every question."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.core.errors import ReportError
from pipelines.core.json_text import is_unicode
from pipelines.core.questions import UNKNOWN, Question, QuestionSet
from pipelines.core.user_tables import column_key

MAX_FALSE_STARTS = 100
"""Maximum number of braces in the prose around an object that are tried as its start."""
MAX_WRAPPERS = 3
"""Maximum number of objects or lists with a single value around the entries."""

_END_OF_REASONING = re.compile(
    r"</(?:think|thinking|thought|reasoning|seed:think)>|\[/THINK\]|◁/think▷|<\|END_THINKING\|>"
    r"|<\|channel\|>final<\|message\|>",
    re.I,
)
"""Marks after which reasoning models write their reply."""
_START_OF_REASONING = re.compile(r"<(?:think|thinking|thought|reasoning|seed:think)>|\[THINK\]|◁think▷", re.I)
_DECODER = json.JSONDecoder(strict=False)
"""Accepts line ends within quotes, which models copy from reports."""


@dataclass(frozen=True)
class BackendAnswer:
    """One answer as the backend returned it."""

    answer: str
    evidence: str


def parse_reply(text: str, questions: QuestionSet) -> dict[str, BackendAnswer]:
    """Return question id -> answer from ``text``, which must hold one JSON object with an entry per question.

    Reasoning before it, prose or a fence around it, other capitals and further keys are accepted. A missing
    entry or an answer that is not allowed is not.

    Raises
    ------
    ReportError
        The reply is not valid. The message names the question and never repeats the reply,
        because replies quote the report.
    """
    found = [entries for data in _json_values(_without_reasoning(text)) if (entries := _entries(data, questions))]
    if not found:
        raise ReportError("the reply has no JSON object with the answers")
    # a model that corrects itself writes the final object last
    best = max(reversed(found), key=lambda entries: sum(_has(entries, name) for name in questions.ids))
    return {question.id: _parse_entry(best, question) for question in questions.questions}


def _without_reasoning(text: str) -> str:
    """Return the text after the reasoning of a model; nothing if the reasoning has no end."""
    *_, last = _END_OF_REASONING.split(text)
    return "" if _START_OF_REASONING.search(last) else last


def _json_values(text: str) -> Iterable[Any]:
    """Yield the JSON value that ``text`` is, or else each object in it."""
    try:
        yield _DECODER.decode(text)
        return
    except (ValueError, RecursionError):
        pass
    position, false_starts = text.find("{"), 0
    while position >= 0 and false_starts < MAX_FALSE_STARTS:
        try:
            value, position = _DECODER.raw_decode(text, position)
            yield value
        except ValueError:
            false_starts += 1
            position += 1
        except RecursionError:
            return
        position = text.find("{", position)


def _entries(data: Any, questions: QuestionSet) -> Mapping[str, Any] | None:
    """Return the object that has an entry for a question, without wrappers around it; None if there is none."""
    for _ in range(MAX_WRAPPERS + 1):
        if isinstance(data, dict) and any(_has(data, name) for name in questions.ids):
            return data
        inner = list(data.values()) if isinstance(data, dict) else data if isinstance(data, list) else []
        if len(inner) != 1:
            return None
        data = inner[0]
    return None


def _key(names: Iterable[str], wanted: str) -> str | None:
    """Return the name that is ``wanted``, or else the only one that differs in capitals and punctuation alone."""
    names = list(names)
    if wanted in names:
        return wanted
    alike = [name for name in names if column_key(name) == column_key(wanted)]
    return alike[0] if len(alike) == 1 else None


def _has(entries: Mapping[str, Any], name: str) -> bool:
    return _key(entries, name) is not None


def _parse_entry(entries: Mapping[str, Any], question: Question) -> BackendAnswer:
    key = _key(entries, question.id)
    if key is None:
        raise ReportError(f"the reply has no entry for {question.id}")
    entry = entries[key] if isinstance(entries[key], dict) else {"answer": entries[key]}
    answer_key, evidence_key = _key(entry, "answer"), _key(entry, "evidence")
    if answer_key is None:
        raise ReportError(f"the entry for {question.id} has no answer")
    answer = _answer(entry[answer_key], question)
    evidence = _evidence(entry[evidence_key], question) if evidence_key is not None else ""
    if not is_unicode(answer + evidence):
        raise ReportError(f"the entry for {question.id} is not valid Unicode (half a surrogate pair)")
    return BackendAnswer(answer, "" if answer == UNKNOWN and question.kind == "phrase" else evidence)


def _answer(value: Any, question: Question) -> str:
    """Return the answer in the spelling of the question; null is unknown."""
    if value is None:
        return UNKNOWN
    if not isinstance(value, str):
        raise ReportError(f"the entry for {question.id} is not an answer with evidence")
    if question.kind == "phrase":
        return value if value.strip().lower() not in ("", UNKNOWN) else UNKNOWN
    answer = _key(question.answers, value)
    if answer is None:
        raise ReportError(f"the answer to {question.id} is not one of {', '.join(question.answers)}")
    return answer


def _evidence(value: Any, question: Question) -> str:
    """Return the quote; null is none, and of several quotes the first counts, because a joined one is not verbatim."""
    if isinstance(value, list):
        value = next((quote for quote in value if quote), None)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ReportError(f"the entry for {question.id} is not an answer with evidence")
    return value
