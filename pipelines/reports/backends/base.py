"""What every backend is: a thing that completes requests, in whatever order and number at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from pipelines.reports.instructions import Messages

CUT_OFF = "the reply was cut off at the limit of tokens; raise --max-tokens"


@dataclass(frozen=True)
class Sampling:
    """How a language model picks its tokens."""

    temperature: float = 0.0
    """0 takes the likeliest token every time."""
    seed: int = 0
    """The same seed gives the same sample, as far as the server keeps its word."""


@dataclass(frozen=True)
class Request:
    """One report to answer the questions about."""

    report_text: str
    messages: Messages
    """The conversation for a language model."""
    sampling: Sampling | None = None
    """None takes that of the settings."""

    def __repr__(self) -> str:
        """Leave out the text, which is confidential."""
        return f"Request({len(self.report_text)} characters)"


@dataclass(frozen=True)
class Reply:
    """What came back for one request: JSON text, or the reason why there is none."""

    text: str = ""
    error: str = ""
    """Why there is no usable text, in words that hold nothing of the report."""
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    seconds: float = 0.0
    too_long: bool = False
    """True where the model does not take so much text; less of it may do."""

    def __repr__(self) -> str:
        """Leave out the text, which quotes the report."""
        return f"Reply({len(self.text)} characters, error={self.error!r})"


def too_long(tokens: int, room: int) -> Reply:
    """Return the reply to a request that the model cannot take; it is never cut silently."""
    return Reply(error=f"{tokens} tokens, but the model takes {room} beside the reply", too_long=True)


class Backend(Protocol):
    """Answers the questions about reports."""

    model: str
    """Name of the model for the record."""
    repeatable: bool
    """True where asking again changes nothing, so that a second attempt is useless."""
    batch_size: int
    """Requests worth giving at a time."""

    @property
    def context(self) -> int | None:
        """Most tokens of a conversation and its reply; None without a model, or where only the server knows."""
        ...

    def complete(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply]]:
        """Yield the position of each request and its reply, as they are ready.

        Raises
        ------
        BackendError
            The backend cannot be used at all; requests not yet yielded are lost.
        """
        ...

    def count_tokens(self, request: Request) -> int | None:
        """Return the length of a request in tokens, or None where only the server knows."""
        ...
