"""The interface of backends: they answer requests, in any order and any number at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pipelines.reports.instructions import Messages

CUT_OFF = "the reply was cut off at the token limit; raise --max-tokens (reasoning models need several thousand)"


@dataclass(frozen=True)
class Sampling:
    """How a language model picks its tokens."""

    temperature: float = 0.0
    """0 always takes the most likely token."""
    seed: int = 0
    """The same seed gives the same sample, if the server supports it."""


@dataclass(frozen=True)
class Request:
    """A request to answer all questions about one report, or a part of one."""

    report_text: str
    messages: Messages
    """The conversation for a language model."""
    sampling: Sampling | None = None
    """None uses the sampling of the settings."""

    def __repr__(self) -> str:
        """Leave out the text, which is confidential."""
        return f"Request({len(self.report_text)} characters)"


@dataclass(frozen=True)
class Reply:
    """The reply to one request: JSON text, or an error."""

    text: str = ""
    error: str = ""
    """Why there is no usable text; contains no words of the report."""
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    seconds: float = 0.0
    too_long: bool = False
    """True if the text is too long for the model; a part of it may fit."""

    def __repr__(self) -> str:
        """Leave out the text, which quotes the report."""
        return f"Reply({len(self.text)} characters, error={self.error!r})"


def too_long_reply(tokens: int, room: int) -> Reply:
    """Return the reply to a request that is too long for the model; text is never cut silently."""
    return Reply(error=f"{tokens} tokens, but the model accepts {room} besides the reply", too_long=True)


class Backend(Protocol):
    """Answers the questions about reports."""

    model: str
    """Name of the model, recorded with the answers."""
    deterministic: bool
    """True if the same text always gets the same answers, so that a second request is useless."""
    batch_size: int
    """Number of reports per batch."""

    @property
    def facts(self) -> Mapping[str, str]:
        """What the summary of a run tells about the backend: name -> text; known after the replies."""
        ...

    @property
    def context(self) -> int | None:
        """Maximum number of tokens of a conversation with its reply; None without a model or if not known."""
        ...

    def complete(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply]]:
        """Yield the index of each request with its reply, as soon as it is ready.

        Raises
        ------
        BackendError
            The backend cannot be used at all; requests not yet yielded get no reply.
        """
        ...

    def count_tokens(self, request: Request) -> int | None:
        """Return the number of tokens of a request, or None if only the server can count them."""
        ...
