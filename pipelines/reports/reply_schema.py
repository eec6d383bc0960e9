"""The JSON schema of replies: one entry per question."""

from __future__ import annotations

from typing import Any

from pipelines.core.questions import Question, QuestionSet

MAX_STRING = 300
"""Maximum number of characters of a quote or phrase, where the length is limited."""


def reply_schema(questions: QuestionSet, *, bounded: bool = True) -> dict[str, Any]:
    """Return the schema that replies must follow.

    ``evidence`` comes before ``answer``, so that a model finds the sentence before it decides.

    Parameters
    ----------
    bounded
        Limit the length of strings, so that small models do not generate without end. Some
        hosted services reject the keyword ``maxLength``; with them only the limit of output
        tokens applies.
    """
    return _object({question.id: _entry(question, bounded=bounded) for question in questions.questions})


def _entry(question: Question, *, bounded: bool) -> dict[str, Any]:
    text: dict[str, Any] = {"type": "string", **({"maxLength": MAX_STRING} if bounded else {})}
    answer = text if question.kind == "phrase" else {"type": "string", "enum": list(question.answers)}
    return _object({"evidence": text, "answer": answer})


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
