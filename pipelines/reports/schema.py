"""The JSON schema of a reply, one entry per question, the same for every backend."""

from __future__ import annotations

from typing import Any

from pipelines.core.questions import Question, QuestionSet

MAX_EVIDENCE = 300
"""Characters of a quote where the length is bounded."""


def answer_schema(questions: QuestionSet, *, bounded: bool = True) -> dict[str, Any]:
    """Return the schema that replies must obey.

    ``evidence`` stands before ``answer``, so that a model finds the sentence first and
    decides second.

    Parameters
    ----------
    bounded
        Limit the length of strings, which keeps small models from running on. Some hosted
        services refuse the keyword; there the limit of output tokens must do.
    """
    return _object({question.id: _entry(question, bounded=bounded) for question in questions.questions})


def _entry(question: Question, *, bounded: bool) -> dict[str, Any]:
    text: dict[str, Any] = {"type": "string", **({"maxLength": MAX_EVIDENCE} if bounded else {})}
    answer = text if question.kind == "phrase" else {"type": "string", "enum": list(question.answers)}
    return _object({"evidence": text, "answer": answer})


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
