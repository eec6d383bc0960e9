"""Servers that refuse a part of a request, break connections, or send something else than a completion."""

import pytest

from pipelines.core.errors import BackendError
from pipelines.core.question_files import load_questions
from pipelines.core.resources import DescribeReportsResources
from pipelines.core.settings import DescribeReportsSettings
from pipelines.describe_reports import DescribeReportsInputs, describe_reports
from pipelines.reports.backends.base import Request
from pipelines.reports.backends.openai import OpenAIBackend
from pipelines.reports.instructions import messages
from tests.describing import REPLY, SERVER, TEXTS, reports_of, write_table
from tests.reports.chat_server import BREAK, chat_server, completion

LUNG = load_questions("lung")
GOOD = (200, completion("{}"))
LOGIN = (200, "<!doctype html><p>Please log in.")


def backend(server, **options):
    settings = DescribeReportsSettings(backend="openai", model="fake")
    return OpenAIBackend(LUNG, settings, DescribeReportsResources(base_url=server.url, **{"workers": 1, **options}))


def request(text="A report."):
    return Request(text, messages(LUNG, text))


def format_of(body):
    kind = body.get("response_format", {}).get("type", "text")
    return "strict" if body.get("response_format", {}).get("json_schema", {}).get("strict") else kind


def refuses(is_refused, status=400, message="", **error):
    body = {"error": {"message": message, **error}}
    return lambda sent: (status, body) if is_refused(sent) else GOOD


SERVERS = {
    "no strict schema": (
        refuses(lambda body: format_of(body) == "strict", 422, "body response_format json_schema strict not permitted"),
        {"replies_asked_for_as": "a JSON schema that is not strict"},
        ["strict", "json_schema"],
    ),
    "no schema": (
        refuses(lambda body: format_of(body) in ("strict", "json_schema"), message="json_schema is not supported"),
        {"replies_asked_for_as": "a JSON object, with the schema in the instructions"},
        ["strict", "json_schema", "json_object"],
    ),
    "no JSON object": (
        refuses(lambda body: format_of(body) == "json_object" or format_of(body) != "text", param="response_format"),
        {"replies_asked_for_as": "text, with the schema in the instructions"},
        ["strict", "json_schema", "json_object", "text"],
    ),
    "no format, no reason": (
        refuses(lambda body: "response_format" in body),
        {"replies_asked_for_as": "text, with the schema in the instructions"},
        ["strict", "json_schema", "json_object", "text"],
    ),
    "crashes on a schema": (
        refuses(lambda body: format_of(body) in ("strict", "json_schema"), 501, "guided decoding is not enabled"),
        {"replies_asked_for_as": "a JSON object, with the schema in the instructions"},
        ["strict", "json_schema", "json_object"],
    ),
    "no seed": (
        refuses(lambda body: "seed" in body, message="Unrecognized request argument supplied: seed"),
        {"not_accepted_by_the_server": "seed"},
        ["strict", "strict"],
    ),
    "no temperature": (
        refuses(lambda body: "temperature" in body, code="unsupported_value", param="temperature"),
        {"not_accepted_by_the_server": "temperature"},
        ["strict", "strict"],
    ),
    "another token limit": (
        refuses(lambda body: "max_tokens" in body, message="Use 'max_completion_tokens'.", param="max_tokens"),
        {},
        ["strict", "strict"],
    ),
    "everything": (
        lambda body: next(
            (
                (400, {"error": f"{name}: unknown"})
                for name in ("seed", "response_format", "max_tokens")
                if name in body
            ),
            GOOD,
        ),
        {
            "replies_asked_for_as": "text, with the schema in the instructions",
            "not_accepted_by_the_server": "seed",
        },
        ["strict", "strict", "json_schema", "json_object", "text", "text"],
    ),
}


@pytest.mark.parametrize(("answer", "facts", "formats"), SERVERS.values(), ids=SERVERS.keys())
def test_what_a_server_refuses_is_learnt_once_and_shown(answer, facts, formats, caplog):
    with chat_server(answer) as server:
        asked = backend(server)
        replies = [reply for _, reply in asked.complete([request()] * 3)]
    assert [reply.text for reply in replies] == ["{}"] * 3
    assert [format_of(body) for body in server.bodies] == [*formats, formats[-1], formats[-1]]
    assert asked.facts == facts
    assert len(caplog.messages) == len(facts)
    assert all(any(text in line for line in caplog.messages) for text in facts.values())


def test_a_request_that_is_refused_in_every_way_is_one_failed_report():
    with chat_server(lambda _: (400, {"error": {"message": "no"}})) as server:
        asked = backend(server)
        ((_, reply),) = asked.complete([request()])
    assert "HTTP 400" in reply.error
    assert [format_of(body) for body in server.bodies] == ["strict", "json_schema", "json_object", "text"]
    assert asked.facts == {}


def test_a_refusal_after_a_reply_changes_nothing_for_the_other_reports():
    def answer(body):
        about_this = "grammar" in body["messages"][1]["content"] and format_of(body) == "strict"
        return (400, {"error": {"message": "Failed to parse grammar"}}) if about_this else GOOD

    with chat_server(answer) as server:
        asked = backend(server)
        replies = dict(asked.complete([request(), request("This report breaks the grammar."), request()]))
    assert {reply.text for reply in replies.values()} == {"{}"}
    assert [format_of(body) for body in server.bodies] == ["strict", "strict", "json_schema", "strict"]
    assert asked.facts == {}


def test_an_error_without_a_reason_is_not_retried_in_other_formats_once_the_server_has_answered():
    answers = [GOOD, (400, {})]
    with chat_server(lambda _: answers.pop(0)) as server:
        replies = dict(backend(server).complete([request(), request()]))
    assert replies[1].error
    assert len(server.bodies) == 2


def test_a_reply_that_is_cut_off_shows_that_the_request_is_accepted():
    def answer(body):
        return (400, {"error": "seed"}) if "seed" in body else (200, completion("{", finish_reason="length"))

    with chat_server(answer) as server:
        replies = dict(backend(server).complete([request()] * 2))
    assert all("cut off" in reply.error for reply in replies.values())
    assert len(server.bodies) == 3


@pytest.mark.parametrize(
    ("status", "error", "too_long"),
    [(500, {"message": "context shift is disabled"}, True), (429, {"code": "insufficient_quota"}, False)],
)
def test_a_failure_that_would_repeat_is_not_retried(status, error, too_long):
    with chat_server(lambda _: (status, {"error": error})) as server:
        asked = backend(server, retries=4).complete([request()])
        if too_long:
            assert next(asked)[1].too_long
        else:
            with pytest.raises(BackendError, match="no credit"):
                next(asked)
    assert len(server.bodies) == 1


def test_the_number_of_retries_can_be_set():
    with chat_server(lambda _: (503, {})) as server:
        list(backend(server, retries=2).complete([request()]))
    assert len(server.bodies) == 3


def test_a_login_page_ends_the_run_before_the_first_reply_and_later_costs_one_report():
    answers = [LOGIN, GOOD, LOGIN, GOOD]
    with chat_server(lambda _: answers.pop(0)) as server:
        with pytest.raises(BackendError, match="web page"):
            list(backend(server).complete([request()]))
        replies = dict(backend(server).complete([request()] * 3))
    assert [bool(replies[index].error) for index in range(3)] == [False, True, False]


def test_an_error_sent_as_a_success_is_an_error():
    with chat_server(lambda _: (200, {"error": {"message": "prompt is too long", "code": 400}})) as server:
        ((_, reply),) = backend(server).complete([request()])
    assert reply.too_long


@pytest.mark.parametrize("bad", [(BREAK, None), (200, "{"), (200, {"choices": [None]}), (503, "<html>"), (403, {})])
def test_one_failure_costs_one_report(tmp_path, bad):
    table = write_table(tmp_path / "reports.csv", {name: TEXTS[name] for name in ("r1", "r2")})

    def answer(body):
        return bad if TEXTS["r2"] in body["messages"][1]["content"] else (200, completion(REPLY))

    with chat_server(answer) as server:
        resources = DescribeReportsResources(base_url=server.url, workers=1, retries=0)
        describe_reports(DescribeReportsInputs(table), tmp_path / "out", SERVER, resources=resources)
    assert {row["report_id"]: row["status"] for row in reports_of(tmp_path / "out")} == {"r1": "ok", "r2": "failed"}


def test_the_summary_of_a_run_shows_what_the_server_does_not_accept(tmp_path):
    table = write_table(tmp_path / "reports.csv", {"r1": TEXTS["r1"]})

    def answer(body):
        return (400, {"error": "seed: unknown"}) if "seed" in body else (200, completion(REPLY))

    with chat_server(answer) as server:
        resources = DescribeReportsResources(base_url=server.url)
        summary = describe_reports(DescribeReportsInputs(table), tmp_path / "out", SERVER, resources=resources)
    assert summary.facts["not_accepted_by_the_server"] == "seed"
