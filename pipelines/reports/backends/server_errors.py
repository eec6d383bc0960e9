"""Errors of a server with the OpenAI chat protocol: what they mean for the report and for the run.

Servers repeat parts of a request in their messages, so that these are searched but never shown.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipelines.core.errors import BackendError
from pipelines.core.json_text import parse_json

KEY_VARIABLE = "OPENAI_API_KEY"
"""Environment variable with the API key; local servers usually need none."""
MAX_STATEMENT = 600
"""Characters searched per text of an error; reasons come first, and a repeated request after them."""
LONGEST_WAIT = 120.0
"""Seconds that the client waits for a busy server at most; a server that asks for more ends the run."""

_TOLD_KEYS = ("code", "param", "type", "status", "error_type", "loc", "message", "msg", "detail", "error", "errors")
"""Keys of an error whose texts are searched; other keys may hold the request itself."""
_TOO_LONG = re.compile(
    r"context[ _-]?(length|size|window|limit|shift)|context.{0,20}exceed|too long|too many tokens|reduce the length"
    r"|exceed\w*.{0,40}(context|number of tokens|max_(num|input|seq|model|total)\w*)"
    r"|(prompt|inputs?|messages?|sequence)\b.{0,60}(too large|(longer|larger) than|exceed)"
    r"|tokens?\b.{0,60}must be <=|must have less than \d+ tokens|range of input length"
    r"|maximum (prompt|input|model|sequence) length",
    re.I | re.S,
)
"""How vLLM, SGLang, TGI, TensorRT-LLM, llama.cpp, LM Studio, Ollama and hosted services say that a text is too long."""
_TOO_LARGE_FOR_RATE = re.compile(r"request too large", re.I)
"""How OpenAI and Groq say that one request alone is more than the tokens allowed per minute."""
_NO_CREDIT = re.compile(r"insufficient[_ ](quota|balance|credit|fund)|exceeded your current quota|billing", re.I)
_RETRY_SOON = re.compile(r"(re)?try again in|retry in", re.I)
_MODEL_OUTPUT = re.compile(r"json_validate_failed|failed to generate json", re.I)
"""How Groq says that the model wrote something else than JSON: an error of one reply, not of the format."""


@dataclass(frozen=True)
class ServerError:
    """An error that a server sent in place of a completion."""

    status: int
    """HTTP status, or the code in the body of an error sent as a success."""
    statement: str = ""
    """The texts of the error. They may repeat the report; never show them."""
    names: tuple[str, ...] = ()
    """Code and parameter of the error, which may be shown."""
    retry_after: float = 0.0
    """Seconds that the server asks to wait."""

    def __repr__(self) -> str:
        """Leave out the statement, which may repeat the report."""
        return f"ServerError(HTTP {self.status})"

    @property
    def is_too_long(self) -> bool:
        """Whether the conversation is too long for the model."""
        if self.status == 413 or _TOO_LARGE_FOR_RATE.search(self.statement):
            return True
        return self.status in (200, 400, 422, 500) and bool(_TOO_LONG.search(self.statement))

    @property
    def is_out_of_credit(self) -> bool:
        """Whether the account must be paid for first; waiting does not help."""
        if self.status == 402:
            return True
        soon = self.retry_after or _RETRY_SOON.search(self.statement)
        return self.status in (403, 429) and not soon and bool(_NO_CREDIT.search(self.statement))

    @property
    def may_be_refusal(self) -> bool:
        """Whether the server may accept the conversation with other parameters or another format."""
        if self.is_too_long or _MODEL_OUTPUT.search(self.statement):
            return False
        return self.status in (200, 400, 422, 500, 501)

    @property
    def is_final(self) -> bool:
        """Whether the same request would fail again, although the status is a temporary one."""
        return self.status == 501 or self.is_too_long or self.is_out_of_credit

    def sentence(self) -> str:
        """Return what to tell the user about the report."""
        if self.is_too_long:
            return f"the report is too long for the model (HTTP {self.status})"
        if self.status == 429:
            return "the server stayed too busy (HTTP 429); try fewer --workers or more --retries"
        if self.status == 403:
            return "the server does not allow this request (HTTP 403)"
        if self.status in (400, 422):
            reason = f": {' '.join(self.names)}" if self.names else ""
            return f"the server rejected the request (HTTP {self.status}){reason}"
        if self.status == 200:
            return "the server sent an error in place of a reply"
        return f"the server failed (HTTP {self.status})"


def response_error(response: Any) -> ServerError:
    """Return the error in an HTTP response of the client, whose body has been read."""
    text = response.text
    try:
        body = parse_json(text)
    except ValueError:
        body = "" if is_web_page(text) else text
    wait = response.headers.get("retry-after", "")
    seconds = float(wait) if re.fullmatch(r"\d{1,9}(\.\d+)?", wait) else 0.0
    return ServerError(response.status_code, _statement(body), _names(body), seconds)


def body_error(body: Any) -> ServerError:
    """Return the error in the body of a response that was sent as a success."""
    error = body["error"]
    code = error.get("code") if isinstance(error, dict) else None
    status = code if isinstance(code, int) and 400 <= code < 600 else 200
    return ServerError(status, _statement(error), _names(error))


def keep_final_errors(response: Any) -> None:
    """Tell the client not to retry a request that would fail again; a hook for its HTTP client."""
    if response.status_code == 429 or response.status_code >= 500:  # the client retries these
        response.read()
        if response_error(response).is_final:
            response.headers["x-should-retry"] = "false"  # the header by which a server says so


def is_web_page(text: str) -> bool:
    """Return whether a body is HTML, for example a login page."""
    return bool(re.match(r"\s*<(!doctype|html|head|body|\?xml|h1|!--)", text, re.I))


def stop_if_useless(error: ServerError, server: str, model: str, *, answered: bool) -> None:
    """Raise `BackendError` if no other report would be answered either.

    Parameters
    ----------
    server
        Its address, for the message.
    answered
        Whether the server has answered another report: then a refusal may be about this report only.
    """
    status, resume = error.status, "then run the same command again to resume"
    if 300 <= status < 400:
        raise BackendError(
            f"{server}: the server redirects to another address (HTTP {status}); redirects are not followed,"
            " because reports are confidential",
            hint="pass the final address of the server with --base-url",
        )
    if error.is_out_of_credit:
        raise BackendError(
            f"{server}: the account has no credit left (HTTP {status})", hint=f"pay for more or use another; {resume}"
        )
    if status == 429 and error.retry_after > LONGEST_WAIT:
        raise BackendError(
            f"{server}: the server asks to wait {error.retry_after:,.0f} s (HTTP 429)", hint=f"wait, {resume}"
        )
    if status == 401 or (status == 403 and not answered):
        raise BackendError(
            f"{server}: the server does not accept the key (HTTP {status})",
            hint=f"set the environment variable {KEY_VARIABLE} to a key that may use model {model!r}",
        )
    if status in (404, 405):
        path = "" if server.rstrip("/").endswith("/v1") else f"; most addresses end in /v1: {server.rstrip('/')}/v1"
        raise BackendError(
            f"{server}: the server has no model {model!r}, or no chat completions at this address (HTTP {status})",
            hint=f"check --model and --base-url{path}",
        )


def connection_problem(error: BaseException, server: str) -> str:
    """Return what to tell the user about a report whose connection broke.

    Raises
    ------
    BackendError
        No connection could be made, so that no other report would be answered either.
    """
    chain = list(_causes(error))
    kinds = {kind.__name__ for cause in chain for kind in type(cause).__mro__}
    resume = "then run the same command again to resume"
    if any("CERTIFICATE_VERIFY_FAILED" in str(cause) for cause in chain):
        raise BackendError(
            f"{server}: the certificate of the server is not trusted",
            hint="set the environment variable SSL_CERT_FILE to a file with the certificate of its authority",
        )
    if any(isinstance(cause, ssl.SSLError) for cause in chain) and "ConnectError" in kinds:
        raise BackendError(f"{server}: the server does not speak HTTPS", hint="try http:// in --base-url")
    if "ProxyError" in kinds:
        raise BackendError(
            f"{server}: the proxy refuses the connection", hint=f"check HTTPS_PROXY and NO_PROXY; {resume}"
        )
    if any(isinstance(cause, socket.gaierror) for cause in chain):
        raise BackendError(f"{server}: no machine has this name", hint="check --base-url and the network")
    if kinds & {"ConnectError", "ConnectTimeout"}:
        raise BackendError(
            f"{server}: no connection", hint=f"check that the server is running, and --base-url; {resume}"
        )
    if "APITimeoutError" in kinds:
        return "the server did not answer in time; try fewer --workers or a longer --timeout"
    return "the connection to the server broke before the reply was complete"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _statement(body: Any, depth: int = 4) -> str:
    """Return the texts of an error in the order of `_TOLD_KEYS`, each cut to `MAX_STATEMENT` characters."""
    if isinstance(body, dict) and depth:
        return " ".join(filter(None, (_statement(body[key], depth - 1) for key in _TOLD_KEYS if key in body)))
    if isinstance(body, list) and depth:
        return " ".join(filter(None, (_statement(each, depth - 1) for each in body[:20])))
    return body[:MAX_STATEMENT] if isinstance(body, str) else ""


def _names(body: Any) -> tuple[str, ...]:
    """Return the code and the parameter of an error, if they are names and not text of the report."""
    error = body.get("error", body) if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return ()
    values = (str(error.get(key)) for key in ("code", "param"))
    return tuple(value for value in values if value != "None" and re.fullmatch(r"[a-z][a-z_.]{2,39}", value))
