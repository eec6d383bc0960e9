"""The backend for any server that speaks the OpenAI chat protocol: vLLM, llama.cpp, Ollama, hosted services."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from functools import cached_property
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from pipelines.core.errors import BackendError
from pipelines.core.questions import QuestionSet
from pipelines.core.settings import DescribeReportsSettings
from pipelines.reports.backends.base import CUT_OFF, Reply, Request, Sampling
from pipelines.reports.schema import answer_schema

KEY_VARIABLE = "OPENAI_API_KEY"
"""Where the API key comes from; servers of your own mostly need none."""
MAX_RETRIES = 4
"""Repeats by the official client after 429, 5xx and lost connections, with growing pauses."""
OLD_LIMIT, NEW_LIMIT = "max_tokens", "max_completion_tokens"
"""Names of the most tokens of a reply: what all servers understand, and what reasoning models of OpenAI insist on."""

TOO_LONG = re.compile(r"context.{0,20}(length|size|window|exceed)|exceed\w*.{0,20}context|too (long|many tokens)", re.I)
"""In the words of vLLM, llama.cpp, Ollama and hosted services: the conversation does not fit the model."""


class OpenAIBackend:
    """Sends each report to a server, several at a time."""

    repeatable = False

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
            raise BackendError("backend openai: no model named", hint="pass --model with the name the server knows")
        host = _host(base_url)
        openai = _openai()
        logging.getLogger("openai").setLevel(logging.WARNING)  # below that it logs whole requests
        self.model = settings.model
        self.max_tokens = settings.max_tokens
        self._limit = OLD_LIMIT
        self.sampling = Sampling(settings.temperature, settings.seed)
        self.workers = workers
        self.batch_size = max(64, 16 * workers)
        self._schema = answer_schema(questions, bounded=False)
        self._server = re.sub(r"//[^/@]*@", "//", base_url)  # as shown, without a password
        key = os.environ.get(KEY_VARIABLE) or "none"
        network = openai.DefaultHttpxClient(trust_env=not _is_this_machine(host), timeout=timeout)
        self._client = openai.OpenAI(
            api_key=key, base_url=base_url, timeout=timeout, max_retries=max_retries, http_client=network
        )

    def complete(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply]]:
        """Yield replies as the server gives them; one that fails is a reply with an error."""
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
        """The length that the server states for the model, as vLLM does; None where it states none."""
        try:
            listed = self._client.with_options(max_retries=0).models.list().data or []
        except (_openai().APIError, ValueError):
            return None
        lengths = [getattr(model, "max_model_len", None) for model in listed if model.id == self.model]
        length = lengths[0] if lengths else None
        return length if isinstance(length, int) and length > 0 else None

    def count_tokens(self, request: Request) -> int | None:
        """Return None: only the server knows its tokenizer."""
        return None

    def _ask(self, request: Request) -> Reply:
        openai = _openai()
        sampling = request.sampling or self.sampling
        limit = self._limit
        started = time.perf_counter()
        try:
            completion = self._client.chat.completions.create(
                model=self.model,
                messages=request.messages,
                temperature=sampling.temperature,
                seed=sampling.seed,
                **{limit: self.max_tokens},
                response_format={
                    "type": "json_schema",
                    "json_schema": {"name": "findings", "strict": True, "schema": self._schema},
                },
            )
        except openai.APITimeoutError:
            return Reply(error="the server did not answer in time", seconds=time.perf_counter() - started)
        except openai.APIConnectionError as error:
            raise BackendError(
                f"{self._server}: no connection ({type(error).__name__})",
                hint="is the server running? check --base-url; a rerun goes on where this one stopped",
            ) from None
        except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError) as error:
            raise BackendError(
                f"{self._server}: the server refuses model {self.model!r} (HTTP {error.status_code})",
                hint=f"check --model, --base-url (most end in /v1) and the key in {KEY_VARIABLE}",
            ) from None
        except openai.APIStatusError as error:
            if error.code == "unsupported_parameter" and error.param == OLD_LIMIT == limit:
                self._limit = NEW_LIMIT
                return self._ask(request)
            # its message may repeat the report, so only number and names are kept
            return Reply(
                error=_status_sentence(error),
                seconds=time.perf_counter() - started,
                too_long=error.status_code in (400, 413) and bool(TOO_LONG.search(f"{error.code} {error}"[:400])),
            )
        except (openai.APIError, ValueError):  # a body that is not JSON surfaces as a ValueError of the json module
            return Reply(
                error="the server sent something else than a completion", seconds=time.perf_counter() - started
            )
        return _reply(completion, time.perf_counter() - started)


def _host(url: str) -> str:
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname:
            return parts.hostname
    except ValueError:
        pass
    raise BackendError(
        "backend openai: --base-url is not the URL of a server", hint="write it like http://127.0.0.1:8000/v1"
    )


def _is_this_machine(host: str) -> bool:
    """Tell whether a server is on loopback, where a proxy of the environment would carry reports away."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _reply(completion: Any, seconds: float) -> Reply:
    """Return the text of a completion, or why it has none; servers are not trusted to send all fields."""
    usage = getattr(completion, "usage", None)
    reply = Reply(
        prompt_tokens=getattr(usage, "prompt_tokens", None),
        output_tokens=getattr(usage, "completion_tokens", None),
        seconds=seconds,
    )
    choices = getattr(completion, "choices", None)
    if not choices:
        return replace(reply, error="the server sent no choices")
    choice = choices[0]
    if choice.finish_reason == "length":
        return replace(reply, error=CUT_OFF)
    if choice.finish_reason == "content_filter" or getattr(choice.message, "refusal", None):
        return replace(reply, error="the model refused to answer")
    return replace(reply, text=choice.message.content or "")


def _status_sentence(error: Any) -> str:
    status = error.status_code
    if status == 400:
        names = [name for name in (error.code, error.param) if re.fullmatch(r"[a-z][a-z_]{2,39}", str(name))]
        why = f": {' '.join(names)}" if names else "; the report may be longer than the model accepts"
        return f"the server rejected the request (HTTP 400){why}"
    if status == 429:
        return "the server stayed too busy (HTTP 429); try fewer --workers"
    return f"the server failed (HTTP {status})"


def _openai() -> Any:
    try:
        import openai
    except ImportError as error:
        raise BackendError(
            "backend openai: the package openai is not installed", hint="pip install 'five-wsi[openai]'"
        ) from error
    return openai
