"""Backend ``openai``: any server with the OpenAI chat protocol, such as vLLM, llama.cpp, Ollama or a hosted service."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address, ip_address
from socket import inet_aton
from typing import Any
from urllib.parse import urlsplit

from pipelines.core.errors import BackendError
from pipelines.core.questions import QuestionSet
from pipelines.core.settings import DescribeReportsSettings
from pipelines.reports.backends.base import CUT_OFF, Reply, Request, Sampling
from pipelines.reports.reply_schema import reply_schema

KEY_VARIABLE = "OPENAI_API_KEY"
"""Environment variable with the API key; local servers usually need none."""
MAX_RETRIES = 4
"""Retries by the official client after HTTP 429, 5xx and lost connections, with growing pauses."""
MAX_COUNT = 2**31
"""Token counts from here on are mistakes of the server; the tables could not hold their sum."""
NOT_JSON = (ValueError, RecursionError)
"""What the json module raises for a body that is not JSON or is nested too deeply."""
OLD_LIMIT, NEW_LIMIT = "max_tokens", "max_completion_tokens"
"""Names of the token limit for replies: the one all servers accept, and the one OpenAI's reasoning models require."""

TOO_LONG = re.compile(r"context.{0,20}(length|size|window|exceed)|exceed\w*.{0,20}context|too (long|many tokens)", re.I)
"""How vLLM, llama.cpp, Ollama and hosted services say that the conversation is too long for the model."""


class OpenAIBackend:
    """Sends reports to a server, several at a time."""

    deterministic = False

    def __init__(
        self,
        questions: QuestionSet,
        settings: DescribeReportsSettings,
        *,
        base_url: str | None = None,
        workers: int = 8,
        timeout: float = 300.0,
        max_retries: int = MAX_RETRIES,
    ) -> None:
        if not base_url:  # the client would fall back to a cloud service, and reports are confidential
            raise BackendError(
                "backend openai: no server named", hint="pass --base-url, for example http://127.0.0.1:8000/v1"
            )
        if not settings.model:
            raise BackendError("backend openai: no model named", hint="pass --model with the name that the server uses")
        host = _host(base_url)
        openai = _openai()
        logging.getLogger("openai").setLevel(logging.WARNING)  # at lower levels it logs whole requests
        self.model = settings.model
        self.max_tokens = settings.max_tokens
        self._limit_name = OLD_LIMIT
        self.sampling = Sampling(settings.temperature, settings.seed)
        self.workers = workers
        self.batch_size = max(64, 16 * workers)
        self._schema = reply_schema(questions, bounded=False)
        self._server = re.sub(r"//[^/@]*@", "//", base_url)  # for messages, without a password
        key = os.environ.get(KEY_VARIABLE) or "none"
        http_client = openai.DefaultHttpxClient(
            trust_env=not _is_this_machine(host),
            follow_redirects=False,  # reports and the key go to the named server only
            timeout=timeout,
        )
        self._client = openai.OpenAI(
            api_key=key, base_url=base_url, timeout=timeout, max_retries=max_retries, http_client=http_client
        )

    def complete(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply]]:
        """Yield the replies as they arrive; a request that fails gets a reply with an error."""
        with ThreadPoolExecutor(self.workers) as pool:
            running = {pool.submit(self._ask, request): index for index, request in enumerate(requests)}
            try:
                for future in as_completed(running):
                    yield running[future], future.result()
            finally:
                for future in running:
                    future.cancel()

    @cached_property
    def context(self) -> int | None:
        """Maximum number of tokens that the server lists for the model (vLLM does), else None."""
        try:
            listed = self._client.with_options(max_retries=0).models.list().data or []
        except (_openai().APIError, *NOT_JSON, TypeError, AttributeError):  # the body is JSON, but not a list of models
            return None
        if not isinstance(listed, list):
            return None
        lengths = [getattr(m, "max_model_len", None) for m in listed if getattr(m, "id", None) == self.model]
        length = lengths[0] if lengths else None
        return length if isinstance(length, int) and length > 0 else None

    def count_tokens(self, request: Request) -> int | None:
        """Return None, because only the server has the tokenizer."""
        return None

    def _ask(self, request: Request) -> Reply:
        openai = _openai()
        limit_name = self._limit_name
        started = time.perf_counter()
        try:
            completion = self._send(request, limit_name)
        except openai.APITimeoutError:
            return Reply(error="the server did not answer in time", seconds=time.perf_counter() - started)
        except openai.APIConnectionError as error:
            raise BackendError(
                f"{self._server}: no connection ({type(error).__name__})",
                hint="check that the server is running, and --base-url; then run the same command again to resume",
            ) from None
        except openai.APIStatusError as error:
            self._stop_if_useless(error.status_code)
            if error.code == "unsupported_parameter" and error.param == OLD_LIMIT == limit_name:
                self._limit_name = NEW_LIMIT
                return self._ask(request)
            return _failure(error, time.perf_counter() - started)
        except (openai.APIError, *NOT_JSON):
            return Reply(error="the server did not send a chat completion", seconds=time.perf_counter() - started)
        return _reply(completion, time.perf_counter() - started)

    def _stop_if_useless(self, status: int) -> None:
        """Raise `BackendError` if no other report would be answered either."""
        if 300 <= status < 400:
            raise BackendError(
                f"{self._server}: the server redirects to another address (HTTP {status}); redirects are not followed,"
                " because reports are confidential",
                hint="pass the final address of the server with --base-url",
            ) from None
        if status in (401, 403, 404):
            raise BackendError(
                f"{self._server}: the server refuses model {self.model!r} (HTTP {status})",
                hint=f"check --model, --base-url (most end in /v1) and the key in {KEY_VARIABLE}",
            ) from None

    def _send(self, request: Request, limit_name: str) -> Any:
        sampling = request.sampling or self.sampling
        return self._client.chat.completions.create(
            model=self.model,
            messages=request.messages,
            temperature=sampling.temperature,
            seed=sampling.seed,
            **{limit_name: self.max_tokens},
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "findings", "strict": True, "schema": self._schema},
            },
        )


def _host(url: str) -> str:
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname:
            return parts.hostname
    except ValueError:
        pass
    raise BackendError(
        "backend openai: --base-url is not the URL of a server", hint="for example http://127.0.0.1:8000/v1"
    )


def _is_this_machine(host: str) -> bool:
    """Return whether a server runs on this machine; a proxy would then send the reports to another one."""
    try:
        address: IPv4Address | IPv6Address = ip_address(host)
    except ValueError:
        try:
            address = IPv4Address(inet_aton(host))  # short forms such as 127.1 and 0
        except (OSError, ValueError):
            return host.removesuffix(".") == "localhost"
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_unspecified


def _reply(completion: Any, seconds: float) -> Reply:
    """Return the text of a completion or an error. The client does not check the types that a server sends."""
    usage = getattr(completion, "usage", None)
    reply = Reply(
        prompt_tokens=_count(getattr(usage, "prompt_tokens", None)),
        output_tokens=_count(getattr(usage, "completion_tokens", None)),
        seconds=seconds,
    )
    choices = getattr(completion, "choices", None)
    if not isinstance(choices, list) or not choices:
        return replace(reply, error="the server sent no choices")
    reason, message = getattr(choices[0], "finish_reason", None), getattr(choices[0], "message", None)
    if reason == "length":
        return replace(reply, error=CUT_OFF)
    if reason == "content_filter" or getattr(message, "refusal", None):
        return replace(reply, error="the model refused to answer")
    content = getattr(message, "content", None) or ""
    if not isinstance(content, str):
        return replace(reply, error="the server sent a reply that is not text")
    return replace(reply, text=content)


def _count(number: Any) -> int | None:
    """Return a number of tokens, or None for anything else."""
    return number if type(number) is int and 0 <= number < MAX_COUNT else None


def _failure(error: Any, seconds: float) -> Reply:
    """Return the reply for an HTTP error, without the server's message, which may repeat the report."""
    status = error.status_code
    too_long = status in (400, 413) and bool(TOO_LONG.search(f"{error.code} {error}"[:400]))
    if status == 400:
        names = [name for name in (error.code, error.param) if re.fullmatch(r"[a-z][a-z_]{2,39}", str(name))]
        reason = f": {' '.join(names)}" if names else "; the report may be longer than the model accepts"
        return Reply(error=f"the server rejected the request (HTTP 400){reason}", seconds=seconds, too_long=too_long)
    if status == 429:
        return Reply(error="the server stayed too busy (HTTP 429); try fewer --workers", seconds=seconds)
    return Reply(error=f"the server failed (HTTP {status})", seconds=seconds, too_long=too_long)


def _openai() -> Any:
    try:
        import openai
    except ImportError as error:
        raise BackendError(
            "backend openai: the package openai is not installed", hint="pip install 'five-wsi[openai]'"
        ) from error
    return openai
