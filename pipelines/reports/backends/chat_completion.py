"""Read a chat completion: its text, or what is wrong with it. Nothing that a server sends is taken for granted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pipelines.reports.backends.base import CUT_OFF, Reply

MAX_COUNT = 2**31
"""Token counts from here on are mistakes of the server; the tables could not hold their sum."""


def read_completion(body: Any, seconds: float) -> Reply:
    """Return the reply in the body of a response, or a reply with an error."""
    if not isinstance(body, dict):
        return Reply(error="the server did not send a chat completion", seconds=seconds)
    usage = _mapping(body.get("usage"))
    reply = Reply(
        prompt_tokens=_count(usage.get("prompt_tokens")),
        output_tokens=_count(usage.get("completion_tokens")),
        seconds=seconds,
    )
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices:
        return replace(reply, error="the server sent no choices")
    choice = _mapping(choices[0])
    message = _mapping(choice.get("message"))
    if choice.get("finish_reason") == "length":
        return replace(reply, error=CUT_OFF)
    if choice.get("finish_reason") == "content_filter" or message.get("refusal"):
        return replace(reply, error="the model refused to answer")
    text = _message_text(message)
    return replace(reply, text=text) if text else replace(reply, error="the server sent a reply without text")


def _message_text(message: dict[Any, Any]) -> str:
    """Return the content of a message. Without one, return the reasoning: some servers put whole replies there."""
    keys = ("content", "reasoning_content", "reasoning")
    return next((text for key in keys if (text := _text(message.get(key))).strip()), "")


def _text(content: Any) -> str:
    """Return content as text; a list is joined from its parts of type ``text``."""
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text")
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def _mapping(value: Any) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}


def _count(number: Any) -> int | None:
    """Return a number of tokens, or None for anything else."""
    return number if type(number) is int and 0 <= number < MAX_COUNT else None
