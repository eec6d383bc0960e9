"""Backend ``openai`` with a real local server that fails in the ways servers do."""

import logging
import threading
import time
from dataclasses import replace

import pytest

from pipelines.core.errors import BackendError
from pipelines.core.question_files import load_questions
from pipelines.core.resources import DescribeReportsResources
from pipelines.core.settings import DescribeReportsSettings
from pipelines.reports.backends.base import Request, Sampling
from pipelines.reports.backends.openai import OpenAIBackend
from pipelines.reports.instructions import messages
from tests.reports.chat_server import chat_server, completion

LUNG = load_questions("lung")
SECRET = "Mrs Example has a tumor"
REQUEST = Request(SECRET, messages(LUNG, SECRET))


def backend(server_url, **options):
    settings = DescribeReportsSettings(backend="openai", model="fake", max_tokens=77)
    return OpenAIBackend(LUNG, settings, DescribeReportsResources(base_url=server_url, **options))


def ask(answer, **options):
    with chat_server(answer) as server:
        ((index, reply),) = backend(server.url, **options).complete([REQUEST])
    assert index == 0
    assert "Example" not in reply.error
    return reply, server


def in_turn(*replies):
    waiting = list(replies)
    return lambda _: waiting.pop(0)


def test_the_client_waits_as_long_as_a_busy_server_asks():
    times = []

    def answer(_):
        times.append(time.monotonic())
        return (429, {}) if len(times) == 1 else (200, completion("{}"))

    with chat_server(answer) as server:
        server.pause = {"Retry-After": "0.9"}
        ((_, reply),) = backend(server.url).complete([REQUEST])
    assert reply.text == "{}"
    assert times[1] - times[0] >= 0.9  # without the header the client waits at most half a second


def test_a_password_in_the_url_is_not_shown(monkeypatch):
    with chat_server(lambda _: (404, {})) as server, pytest.raises(BackendError) as caught:
        list(backend(server.url.replace("//", "//user:pa55word@")).complete([REQUEST]))
    assert "pa55word" not in caught.value.message + caught.value.hint
    assert "127.0.0.1" in caught.value.message


def test_reports_for_a_local_server_do_not_go_through_a_proxy(monkeypatch):
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with chat_server(lambda _: (502, {})) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url.removesuffix("/v1"))
        reply, _ = ask(lambda _: (200, completion("{}")))
    assert reply.text == "{}"
    assert proxy.bodies == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(status):
    with chat_server(lambda _: (200, completion("{}"))) as other, chat_server(lambda _: (status, {})) as named:
        named.pause = {"Location": f"{other.url}/chat/completions"}
        with pytest.raises(BackendError, match=f"redirects to another address .HTTP {status}.") as caught:
            list(backend(named.url).complete([REQUEST]))
        named.get_status = status
        assert backend(named.url).context is None
    assert "--base-url" in caught.value.hint
    assert other.requests == []
    assert [request.split()[0] for request in named.requests] == ["POST", "GET"]


def test_the_server_gets_the_conversation_and_the_schema():
    reply, server = ask(lambda _: (200, completion("{}")))
    assert (reply.text, reply.error, reply.prompt_tokens, reply.output_tokens) == ("{}", "", 2000, 20)
    (body,) = server.bodies
    assert body["messages"] == REQUEST.messages
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("fake", 0.0, 77)
    assert body["response_format"]["json_schema"]["strict"] is True
    assert body["response_format"]["json_schema"]["schema"]["required"] == list(LUNG.ids)


def test_a_request_can_have_its_own_sampling():
    with chat_server(lambda _: (200, completion("{}"))) as server:
        list(backend(server.url).complete([replace(REQUEST, sampling=Sampling(0.7, seed=3))]))
    assert [(body["temperature"], body["seed"]) for body in server.bodies] == [(0.7, 3)]


@pytest.mark.parametrize("listed", [{"max_model_len": 8192}, {}, {"max_model_len": "long"}])
def test_the_context_is_the_one_that_the_server_lists(listed):
    with chat_server(lambda _: (200, {})) as server:
        server.model.update(listed)
        context = backend(server.url).context
    assert context == (8192 if listed == {"max_model_len": 8192} else None)


def test_the_context_is_unknown_without_a_model_list():
    with chat_server(lambda _: (200, {})) as server:
        gone = server.url
    assert backend(gone).context is None


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_temporary_failure_is_retried(status):
    reply, server = ask(in_turn((status, {}), (status, {}), (200, completion("{}"))))
    assert reply.text == "{}"
    assert len(server.bodies) == 3


@pytest.mark.parametrize(
    ("status", "expected"), [(429, "too busy"), (500, "HTTP 500"), (400, "rejected"), (413, "long")]
)
def test_a_permanent_failure_becomes_an_error_without_the_message_of_the_server(status, expected):
    reply, _ = ask(lambda _: (status, {"error": {"message": SECRET}}))
    assert expected in reply.error


def test_the_error_of_a_rejected_request_has_the_code_and_parameter_of_the_server():
    error = {"message": SECRET, "code": "unsupported_value", "param": "temperature"}
    assert ask(lambda _: (400, {"error": error}))[0].error.endswith("(HTTP 400): unsupported_value temperature")
    assert ask(lambda _: (400, {"error": {"message": SECRET, "code": SECRET}}))[0].error.endswith("(HTTP 400)")


def test_a_body_that_is_not_json_becomes_an_error():
    reply, _ = ask(lambda _: (200, f"{{ {SECRET}"))
    assert reply.error


def test_a_server_that_does_not_answer_in_time_becomes_an_error():
    released = threading.Event()

    def never(_):
        released.wait(5)
        return 200, completion("{}")

    with chat_server(never) as server:
        ((_, reply),) = backend(server.url, timeout=0.05, retries=0).complete([REQUEST])
        released.set()
    assert "in time" in reply.error


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_server_that_refuses_the_key_or_the_model_stops_the_run(status, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-key")
    refusal = (status, {"error": {"message": "sk-secret-key"}})
    with chat_server(lambda _: refusal) as server, pytest.raises(BackendError) as caught:
        list(backend(server.url).complete([REQUEST]))
    assert f"HTTP {status}" in caught.value.message
    assert "sk-secret" not in caught.value.message + caught.value.hint


def test_the_key_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-key")
    _, server = ask(lambda _: (200, completion("{}")))
    assert server.headers[0]["authorization"] == "Bearer sk-secret-key"


def test_an_unreachable_server_stops_the_run():
    with chat_server(lambda _: (200, {})) as server:
        gone = server.url
    with pytest.raises(BackendError, match="no connection"):
        list(backend(gone, retries=0).complete([REQUEST]))


def test_requests_are_sent_concurrently():
    together = threading.Barrier(4)

    def answer(_):
        together.wait(timeout=10)  # passes only when four requests have arrived
        return 200, completion("{}")

    with chat_server(answer) as server:
        replies = dict(backend(server.url, workers=4).complete([REQUEST] * 8))
    assert sorted(replies) == list(range(8))
    assert {reply.text for reply in replies.values()} == {"{}"}


def test_requests_are_not_logged_even_in_debug_mode(caplog):
    caplog.set_level(logging.DEBUG)
    ask(lambda _: (200, completion("{}")))
    assert "Example" not in caplog.text


@pytest.mark.parametrize(
    ("url", "model", "expected"), [(None, "m", "--base-url"), ("http://127.0.0.1:1", "", "--model")]
)
def test_server_and_model_must_be_named(url, model, expected):
    with pytest.raises(BackendError) as caught:
        OpenAIBackend(
            LUNG, DescribeReportsSettings(backend="openai", model=model), DescribeReportsResources(base_url=url)
        )
    assert expected in caught.value.hint
