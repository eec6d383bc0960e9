"""What errors of servers mean, in the words of the servers."""

import json
import socket
import ssl
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.core.errors import BackendError
from pipelines.reports.backends.server_errors import (
    MAX_STATEMENT,
    ServerError,
    body_error,
    connection_problem,
    keep_final_errors,
    response_error,
    stop_if_useless,
)

SERVER = "http://127.0.0.1:1/v1"
TOO_LONG = {
    "vLLM": (400, "This model's maximum context length is 4096 tokens. However, you requested 9000 tokens"),
    "vLLM, prompt": (400, "The decoder prompt (length 9024) is longer than the maximum model length of 4096."),
    "vLLM, limit": (
        400,
        "'max_tokens' is too large: 1024. This model's maximum context length is 4096 tokens and your request has 3900",
    ),
    "vLLM, input": (400, "Input length (9024) exceeds model's maximum context length (4096)."),
    "llama.cpp": (400, "the request exceeds the available context size, try increasing it"),
    "llama.cpp, old": (500, "context shift is disabled"),
    "LM Studio": (400, "The number of tokens to keep from the initial prompt is greater than the context length."),
    "TGI": (422, "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 9000 `inputs`"),
    "TGI, inputs": (422, "Input validation error: `inputs` must have less than 4095 tokens. Given: 9000"),
    "Gemini": (400, "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."),
    "Groq": (413, "Request too large for model `x` on tokens per minute (TPM): Limit 6000, Requested 9000"),
    "OpenAI, rate": (429, "Request too large for x on tokens per min (TPM): Limit 10000, Requested 12000."),
    "OpenAI": (400, "context_length_exceeded"),
    "SGLang": (400, "The input (9000 tokens) is longer than the model's context length (4096 tokens)."),
    "TensorRT-LLM": (
        500,
        "The sum of prompt length (9000.0), query length (0) should not exceed max_num_tokens (4096)",
    ),
    "LiteLLM": (400, "ContextWindowExceededError: prompt is too long: 9000 tokens > 4096 maximum"),
    "Mistral": (400, "Prompt contains 9000 tokens, too large for model with 4096 maximum context length"),
    "xAI": (400, "This model's maximum prompt length is 131072 but the request contains 150000 tokens."),
    "DashScope": (400, "Range of input length should be [1, 6000]"),
    "MLC": (400, "Request prompt has 9000 tokens in total, larger than the model input length limit 4096."),
    "Anthropic": (400, "input length and `max_tokens` exceed context limit: 199759 + 8192 > 200000"),
    "nginx": (413, ""),
}
OTHER = {
    "parameter": (400, "response_format is not supported"),
    "validation": (422, "body temperature Input should be greater than 0"),
    "limit": (400, "max_tokens is too large: 100000. This model supports at most 4096 completion tokens"),
    "schema": (400, "Invalid schema for response_format 'findings': In context=('properties', 'size_class')"),
    "crash": (500, "The request took longer than expected"),
    "busy": (429, "Rate limit reached: the input exceeds the tokens per minute. Please try again in 20s."),
    "quota": (429, "You exceeded your current quota, please check your plan and billing details"),
    "no page": (404, "This address is too long"),
}


def response(status, text, **headers):
    return SimpleNamespace(status_code=status, text=text, headers=headers, read=lambda: None)


@pytest.mark.parametrize(("status", "statement"), TOO_LONG.values(), ids=TOO_LONG.keys())
def test_servers_say_in_many_ways_that_a_report_is_too_long(status, statement):
    error = ServerError(status, statement)
    assert error.is_too_long
    assert not error.may_be_refusal
    assert "too long" in error.sentence()


@pytest.mark.parametrize(("status", "statement"), OTHER.values(), ids=OTHER.keys())
def test_other_errors_do_not_split_a_report(status, statement):
    assert not ServerError(status, statement).is_too_long


@pytest.mark.parametrize(
    ("status", "statement", "wait", "expected"),
    [
        (402, "", 0, True),
        (429, "insufficient_quota", 0, True),
        (429, "You exceeded your current quota, please check your plan and billing details", 0, True),
        (403, "Insufficient balance", 0, True),
        (429, "You exceeded your current quota. Please retry in 12.3s.", 0, False),
        (429, "You exceeded your current quota", 30, False),
        (429, "slow down", 0, False),
        (400, "insufficient_quota", 0, False),
    ],
)
def test_an_account_without_credit_is_distinguished_from_a_busy_server(status, statement, wait, expected):
    assert ServerError(status, statement, retry_after=wait).is_out_of_credit == expected


@pytest.mark.parametrize(
    ("status", "text", "expected"),
    [
        (500, '{"message": "context shift is disabled"}', "false"),
        (429, '{"error": {"code": "insufficient_quota"}}', "false"),
        (429, '{"error": {"message": "slow down"}}', None),
        (503, "<html>prompt is too long</html>", None),
        (501, "", "false"),
        (200, "{}", None),
    ],
)
def test_requests_that_would_fail_again_are_not_retried(status, text, expected):
    reply = response(status, text)
    keep_final_errors(reply)
    assert reply.headers.get("x-should-retry") == expected


@pytest.mark.parametrize(
    ("text", "statement"),
    [
        ('{"error": {"message": "a", "code": "b", "input": "secret"}}', "b a"),
        ('{"detail": [{"loc": ["body", "seed"], "msg": "no", "input": "secret"}]}', "body seed no"),
        ('[{"error": {"message": "a"}}]', "a"),
        ('{"error": "a"}', "a"),
        ('"a"', "a"),
        ("a plain text", "a plain text"),
        ("<!DOCTYPE html><p>a", ""),
        ("3", ""),
        ("", ""),
        ('{"message": "' + "x" * 9999 + '"}', "x" * MAX_STATEMENT),
    ],
)
def test_the_statement_has_the_texts_that_give_the_reason(text, statement):
    assert response_error(response(400, text)).statement == statement


def test_a_statement_is_never_shown():
    error = response_error(
        response(400, '{"error": {"message": "Mrs Example", "code": "Mrs Example", "param": "seed"}}')
    )
    assert "Example" not in repr(error) + error.sentence()
    assert error.names == ("seed",)


@pytest.mark.parametrize(
    ("header", "seconds"), [("3600", 3600), ("1.5", 1.5), ("Sat, 28 Nov 2026 09:00:00 GMT", 0), ("-1", 0), ("", 0)]
)
def test_the_wait_that_a_server_asks_for_is_read(header, seconds):
    assert response_error(response(429, "", **{"retry-after": header})).retry_after == seconds


def test_an_error_sent_as_a_success_has_the_status_in_its_body():
    assert body_error({"error": {"code": 502, "message": "a"}}).status == 502
    assert body_error({"error": {"code": "x"}}).status == 200
    assert "in place of a reply" in body_error({"error": "text"}).sentence()
    assert body_error({"error": {"message": "prompt is too long"}}).is_too_long


@pytest.mark.parametrize(
    ("error", "expected", "hint"),
    [
        (ServerError(302), "redirects", "--base-url"),
        (ServerError(402), "no credit", "resume"),
        (ServerError(429, retry_after=3600), "wait 3,600 s", "resume"),
        (ServerError(401), "key", "OPENAI_API_KEY"),
        (ServerError(403), "key", "OPENAI_API_KEY"),
        (ServerError(404), "no model 'm'", "--model"),
        (ServerError(405), "no chat completions", "--base-url"),
    ],
)
def test_errors_about_all_reports_end_the_run(error, expected, hint):
    with pytest.raises(BackendError, match=expected) as caught:
        stop_if_useless(error, SERVER, "m", answered=False)
    assert hint in caught.value.hint


def test_an_address_without_v1_is_corrected():
    with pytest.raises(BackendError) as caught:
        stop_if_useless(ServerError(404), "http://127.0.0.1:1/", "m", answered=False)
    assert caught.value.hint.endswith("http://127.0.0.1:1/v1")
    with pytest.raises(BackendError) as caught:
        stop_if_useless(ServerError(404), SERVER, "m", answered=False)
    assert "end in" not in caught.value.hint


@pytest.mark.parametrize("status", [400, 408, 413, 422, 429, 500, 503])
def test_errors_about_one_report_do_not_end_the_run(status):
    stop_if_useless(ServerError(status, retry_after=60), SERVER, "m", answered=False)


def test_a_server_that_has_answered_may_forbid_one_report():
    stop_if_useless(ServerError(403), SERVER, "m", answered=True)


class ConnectError(Exception):
    """The client's errors are recognised by name, because its HTTP library has changed."""


class ProxyError(Exception):
    pass


class ReadError(Exception):
    pass


class APITimeoutError(Exception):
    pass


class ConnectTimeout(Exception):
    pass


@pytest.mark.parametrize(
    ("causes", "expected"),
    [
        ([ConnectError(), ssl.SSLCertVerificationError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed")], "certificate"),
        ([ConnectError(), ssl.SSLError("[SSL: WRONG_VERSION_NUMBER] wrong version number")], "does not speak HTTPS"),
        ([ConnectError(), socket.gaierror(-2, "Name or service not known")], "no machine has this name"),
        ([ConnectError(), ConnectionRefusedError()], "no connection"),
        ([APITimeoutError(), ConnectTimeout()], "no connection"),
        ([ProxyError()], "proxy"),
    ],
)
def test_a_connection_that_cannot_be_made_ends_the_run_with_its_reason(causes, expected):
    error = Exception()
    for inner, outer in zip([error, *causes], causes, strict=False):
        inner.__cause__ = outer
    with pytest.raises(BackendError, match=expected) as caught:
        connection_problem(error, SERVER)
    assert caught.value.hint


def test_a_connection_that_breaks_costs_one_report():
    broken, late = Exception(), APITimeoutError()
    broken.__cause__ = ReadError()
    assert "broke" in connection_problem(broken, SERVER)
    assert "--timeout" in connection_problem(late, SERVER)


any_json = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["error", "message", "code", "param", "detail", "x"]), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(any_json, st.integers(300, 599))
def test_any_error_body_can_be_read(body, status):
    for error in (response_error(response(status, json.dumps(body))), body_error({"error": body})):
        assert error.sentence()
        assert isinstance(error.is_final, bool)
