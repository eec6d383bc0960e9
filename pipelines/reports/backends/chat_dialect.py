"""What a server with the OpenAI chat protocol accepts: the format of replies and the parameters of a request."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pipelines.reports.backends.base import Sampling
from pipelines.reports.instructions import Messages

STRICT_SCHEMA, SCHEMA, OBJECT, TEXT = range(4)
"""Formats of replies, from the safest to the one that every server accepts."""
FORMAT_NOTES = {
    SCHEMA: "a JSON schema that is not strict",
    OBJECT: "a JSON object, with the schema in the instructions",
    TEXT: "text, with the schema in the instructions",
}
LIMITS = ("max_tokens", "max_completion_tokens", "")
"""Names of the token limit: the one that most servers accept, the one of OpenAI's reasoning models, not sent."""

_PARAMETERS = {
    "limit": re.compile(r"\bmax_(completion_)?tokens\b", re.I),
    "temperature": re.compile(r"\btemperature\b", re.I),
    "seed": re.compile(r"\bseed\b", re.I),
    "format": re.compile(
        r"response[_ ]?format|json[_ ]?(schema|object|mode)|structured[_ -]?output|guided|grammar|\bstrict\b"
        r"|additionalProperties|\bschema\b",
        re.I,
    ),
}


@dataclass(frozen=True)
class Dialect:
    """The requests that a server accepts. A new one asks for everything; each refusal takes something away."""

    format: int = STRICT_SCHEMA
    limit: int = 0
    """Index of the name in `LIMITS`."""
    temperature: bool = True
    seed: bool = True

    def parameters(
        self, messages: Messages, sampling: Sampling, max_tokens: int, schema: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return the parameters of a request, except the model."""
        sent: dict[str, Any] = {"messages": messages if self.format < OBJECT else _with_schema(messages, schema)}
        if self.temperature:
            sent["temperature"] = sampling.temperature
        if self.seed:
            sent["seed"] = sampling.seed
        if LIMITS[self.limit]:
            sent[LIMITS[self.limit]] = max_tokens
        if self.format < OBJECT:
            named = {"name": "findings", "schema": schema}
            strict = {"strict": True} if self.format == STRICT_SCHEMA else {}
            sent["response_format"] = {"type": "json_schema", "json_schema": {**named, **strict}}
        elif self.format == OBJECT:
            sent["response_format"] = {"type": "json_object"}
        return sent

    def after_refusal(self, statement: str) -> Dialect | None:
        """Return the dialect without the parameter that a server names first in a refusal; None if it names none."""
        found = {name: match.start() for name, pattern in _PARAMETERS.items() if (match := pattern.search(statement))}
        for name in sorted(found, key=lambda name: found[name]):
            simpler = self._without(name)
            if simpler != self:
                return simpler
        return None

    def with_next_format(self) -> Dialect | None:
        """Return the dialect with the next simpler format of replies; None after the last."""
        return replace(self, format=self.format + 1) if self.format < TEXT else None

    def _without(self, parameter: str) -> Dialect:
        if parameter == "format":
            return self.with_next_format() or self
        if parameter == "limit":
            return replace(self, limit=min(self.limit + 1, len(LIMITS) - 1))
        return replace(self, **{parameter: False})

    def facts(self) -> dict[str, str]:
        """Return what to show to users: the format asked for and the parameters not sent, where not the usual ones."""
        left_out = [
            *([] if self.temperature else ["temperature"]),
            *([] if self.seed else ["seed"]),
            *([] if LIMITS[self.limit] else ["max_tokens"]),
        ]
        return {
            **({"replies_asked_for_as": FORMAT_NOTES[self.format]} if self.format in FORMAT_NOTES else {}),
            **({"not_accepted_by_the_server": ", ".join(left_out)} if left_out else {}),
        }


def _with_schema(messages: Messages, schema: Mapping[str, Any]) -> Messages:
    """Return the conversation with the schema at the end of its first message, the instructions."""
    first, *rest = messages
    text = json.dumps(schema, ensure_ascii=False, separators=(",", ":"))
    added = f"{first['content']}\n\nThe reply is one JSON object that follows this JSON schema:\n{text}"
    return [{**first, "content": added}, *rest]
