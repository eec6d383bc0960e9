"""Backend ``openai``: any server with the OpenAI chat protocol, such as vLLM, llama.cpp, Ollama or a hosted service."""

from __future__ import annotations

import logging
import os
import re
import ssl
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import cached_property
from threading import Lock
from typing import Any

from pipelines.core.errors import BackendError
from pipelines.core.json_text import parse_json
from pipelines.core.questions import QuestionSet
from pipelines.core.resources import DescribeReportsResources
from pipelines.core.settings import DescribeReportsSettings
from pipelines.reports.backends.base import CUT_OFF, Reply, Request, Sampling
from pipelines.reports.backends.chat_completion import read_completion
from pipelines.reports.backends.chat_dialect import Dialect
from pipelines.reports.backends.server_address import host_of, is_this_machine
from pipelines.reports.backends.server_errors import (
    KEY_VARIABLE,
    ServerError,
    body_error,
    connection_problem,
    is_web_page,
    keep_final_errors,
    response_error,
    stop_if_useless,
)
from pipelines.reports.reply_schema import reply_schema

logger = logging.getLogger(__name__)


class OpenAIBackend:
    """Sends reports to a server, several at a time."""

    deterministic = False

    def __init__(
        self, questions: QuestionSet, settings: DescribeReportsSettings, resources: DescribeReportsResources
    ) -> None:
        base_url = resources.base_url
        if not base_url:  # the client would fall back to a cloud service, and reports are confidential
            raise BackendError(
                "backend openai: no server named", hint="pass --base-url, for example http://127.0.0.1:8000/v1"
            )
        if not settings.model:
            raise BackendError("backend openai: no model named", hint="pass --model with the name that the server uses")
        self._client = _open_client(base_url, resources.timeout, resources.retries)
        self.model = settings.model
        self.max_tokens = settings.max_tokens
        self.sampling = Sampling(settings.temperature, settings.seed)
        self.workers = resources.workers
        self.batch_size = max(64, 16 * self.workers)
        self._schema = reply_schema(questions, bounded=False)
        self._server = re.sub(r"//[^/@]*@", "//", base_url)  # for messages, without a password
        self._dialect = Dialect()
        self._answered = False
        self._learning = Lock()

    @property
    def facts(self) -> dict[str, str]:
        """What the server does not accept."""
        return self._dialect.facts()

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
            listed = self._client.with_options(max_retries=0).models.with_raw_response.list()
            models = parse_json(listed.http_response.text)["data"]
            lengths = [model.get("max_model_len") for model in models if model.get("id") == self.model]
        except (_openai().APIError, ValueError, TypeError, KeyError, AttributeError):  # not a list of models
            return None
        length = lengths[0] if lengths else None
        return length if isinstance(length, int) and length > 0 else None

    def count_tokens(self, request: Request) -> int | None:
        """Return None, because only the server has the tokenizer."""
        return None

    def _ask(self, request: Request) -> Reply:
        """Return the reply to a request; ask in simpler ways while the server refuses the way it was asked."""
        started = time.perf_counter()
        dialect: Dialect | None = self._dialect
        first: ServerError | None = None
        while dialect is not None:
            outcome = self._send(request, dialect, started)
            if isinstance(outcome, Reply):
                self._learn(dialect, outcome)
                return outcome
            stop_if_useless(outcome, self._server, self.model, answered=self._answered)
            first = first or outcome
            dialect = self._simpler(dialect, outcome) if outcome.may_be_refusal else None
            error = outcome if outcome.is_too_long else first
        return Reply(error=error.sentence(), seconds=time.perf_counter() - started, too_long=error.is_too_long)

    def _send(self, request: Request, dialect: Dialect, started: float) -> Reply | ServerError:
        """Return the reply to one request, or the error that the server sent."""
        openai = _openai()
        parameters = dialect.parameters(
            request.messages, request.sampling or self.sampling, self.max_tokens, self._schema
        )
        broken: BaseException | None = None
        try:
            response = self._client.chat.completions.with_raw_response.create(model=self.model, **parameters)
            text = response.http_response.text
        except openai.APIStatusError as failure:
            return response_error(failure.response)
        except openai.APIConnectionError as failure:
            broken = failure
        seconds = time.perf_counter() - started
        if broken is not None:
            return Reply(error=connection_problem(broken, self._server), seconds=seconds)
        return self._read(text, seconds)

    def _read(self, text: str, seconds: float) -> Reply | ServerError:
        """Return the reply in the body of a response that the server calls a success."""
        try:
            body = parse_json(text)
        except ValueError:
            body = None
        if body is None and is_web_page(text) and not self._answered:
            raise BackendError(
                f"{self._server}: the server sends a web page in place of replies, for example to log in",
                hint="check --base-url (most end in /v1), and open the address in a browser to log in",
            )
        if isinstance(body, dict) and body.get("error") and not body.get("choices"):
            return body_error(body)
        return read_completion(body, seconds)

    def _simpler(self, dialect: Dialect, error: ServerError) -> Dialect | None:
        """Return the dialect to try after a refusal, or None."""
        named = dialect.after_refusal(error.statement)
        if named is None and not self._answered and error.status in (400, 422, 501):
            return dialect.with_next_format()  # the server does not say what it refuses
        return named

    def _learn(self, dialect: Dialect, reply: Reply) -> None:
        """Ask in this way from now on, if it is the first one that the server answers."""
        with self._learning:
            if self._answered or reply.error not in ("", CUT_OFF):
                return
            self._answered, self._dialect = True, dialect
        for name, fact in dialect.facts().items():
            logger.warning("%s: %s: %s", self._server, name.replace("_", " "), fact)


def _open_client(base_url: str, timeout: float, retries: int) -> Any:
    is_local = is_this_machine(host_of(base_url))
    openai = _openai()
    logging.getLogger("openai").setLevel(logging.WARNING)  # at lower levels it logs whole requests
    http_client = openai.DefaultHttpxClient(
        trust_env=not is_local,
        verify=ssl.create_default_context() if is_local else True,  # reads SSL_CERT_FILE without `trust_env`
        follow_redirects=False,  # reports and the key go to the named server only
        timeout=timeout,
        event_hooks={"response": [keep_final_errors]},
    )
    return openai.OpenAI(
        api_key=os.environ.get(KEY_VARIABLE) or "none",
        base_url=base_url,
        timeout=timeout,
        max_retries=retries,
        http_client=http_client,
    )


def _openai() -> Any:
    try:
        import openai
    except ImportError as error:
        raise BackendError(
            "backend openai: the package openai is not installed", hint="pip install 'five-wsi[openai]'"
        ) from error
    return openai
