"""Any reply of a server or a language model: the report is described or fails, and the run continues."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.core.errors import FiveError
from pipelines.core.provenance import Provenance
from pipelines.core.question_files import load_questions
from pipelines.describe_reports import DescribeReportsInputs, DescribeReportsResources, describe_reports
from pipelines.reports.backends.base import Reply
from pipelines.reports.backends.chat_completion import read_completion
from pipelines.reports.backends.openai import OpenAIBackend
from pipelines.reports.conversation import Conversation
from pipelines.reports.journal import Journal
from pipelines.reports.reply_reader import parse_reply
from pipelines.reports.report_records import Recorder, write_tables
from pipelines.reports.report_table import Report
from pipelines.reports.report_task import ReportTask
from tests.describing import REPLY, SERVER, TEXTS, lung_reply, reports_of, write_table
from tests.reports.chat_server import chat_server, completion

LUNG = load_questions("lung")
REPORT = Report("r1", "p1", TEXTS["r1"])
DEEP = 100_000
REPLIES = {
    "deep lists": "[" * DEEP,
    "deep objects": '{"pleural_invasion":' * DEEP,
    "deep entry": '{"pleural_invasion": ' + "[" * DEEP + "]" * DEEP + "}",
    "half a surrogate": "\ud800",
    "half a surrogate in a quote": lung_reply(pleural_invasion={"answer": "present", "evidence": "pleura \ud800"}),
    "an escaped half in a quote": REPLY.replace('"evidence": ""', r'"evidence": "\udfff"', 1),
    "an escaped half as answer": REPLY.replace('"answer": "unknown"', r'"answer": "\ud800"', 1),
    "an escaped half as key": r'{"\ud800": 1}',
    "a long number": "9" * 10_000,
    "not a number": "NaN",
    "NUL": "\0",
    "nothing": "",
}

any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
entries = st.fixed_dictionaries({"answer": st.sampled_from(["present", "absent"]) | any_json, "evidence": any_json})
any_text = st.text(st.characters(codec=None))
any_reply = any_text | any_json.map(json.dumps) | st.dictionaries(st.sampled_from(LUNG.ids), entries).map(json.dumps)


def recorded(task, folder):
    """Return the record of a finished task, after it went through the journal and the tables."""
    recorder = Recorder(LUNG, {"backend": "openai", "model": "m", "votes": 1})
    try:
        record = recorder.described(task, task.final_answers("keep"), 0.0)
    except FiveError as error:
        record = recorder.failed(task, error, 0.0)
    with Journal(folder) as journal:
        journal.append(record)
    write_tables(folder, [record], Provenance({}, "", "0"))
    return record


@pytest.mark.parametrize("text", REPLIES.values(), ids=REPLIES.keys())
def test_an_unusable_reply_is_a_failed_report_after_a_second_request(tmp_path, text):
    task = ReportTask(REPORT, LUNG)
    (conversation,) = task.conversations
    for _ in range(2):
        json.dumps(conversation.request().messages, ensure_ascii=False).encode()
        conversation.receive(Reply(text))
    assert recorded(task, tmp_path)["status"] == "failed"


@given(any_reply, any_reply)
def test_any_two_replies_give_a_record_that_can_be_written(tmp_path_factory, first, second):
    task = ReportTask(REPORT, LUNG)
    (conversation,) = task.conversations
    for text in (first, second):
        json.dumps(conversation.request().messages, ensure_ascii=False).encode()
        conversation.receive(Reply(text))
    assert recorded(task, tmp_path_factory.mktemp("out"))["status"] in ("ok", "failed")


fields = (
    "choices",
    "usage",
    "message",
    "content",
    "finish_reason",
    "refusal",
    "reasoning",
    "prompt_tokens",
    "completion_tokens",
)
any_completion = st.recursive(
    any_json, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(fields), inner), max_leaves=8
)


@given(any_completion, any_completion, any_completion)
def test_any_completion_gives_a_reply_with_text_or_an_error(choice, usage, whole):
    for body in (whole, {"choices": [{"message": choice}], "usage": usage}, {"choices": [choice], "usage": usage}):
        reply = read_completion(body, 0.0)
        assert isinstance(reply.text, str)
        Conversation(LUNG, REPORT.text, 0, len(REPORT.text)).receive(reply)


BODIES = {
    "deep JSON": "[" * DEEP + "]" * DEEP,
    "deep content": {**completion(""), "choices": "[" * 10},
    "a number": 3,
    "a list": [1],
    "null": None,
    "no message": {**completion(""), "choices": [{"index": 0}]},
    "content that is a list": completion("", message={"content": [1]}),
    "content that is a number": completion("", message={"content": 7}),
    "tokens that are text": {**completion(REPLY), "usage": {"prompt_tokens": "many", "completion_tokens": [1]}},
    "too many tokens": {**completion(REPLY), "usage": {"prompt_tokens": 10**30, "completion_tokens": -1}},
    **{f"reply: {name}": completion(text) for name, text in REPLIES.items()},
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_one_bad_reply_of_a_server_does_not_end_the_run(tmp_path, body):
    table = write_table(tmp_path / "reports.csv", {name: TEXTS[name] for name in ("r1", "r2")})

    def answer(request):
        if TEXTS["r2"] in request["messages"][1]["content"]:
            return 200, completion(REPLY)
        return 200, body if isinstance(body, str) else json.dumps(body)

    with chat_server(answer) as server:
        resources = DescribeReportsResources(base_url=server.url)
        describe_reports(DescribeReportsInputs(table), tmp_path / "out", SERVER, resources=resources, html=True)
    assert {row["report_id"]: row["status"] for row in reports_of(tmp_path / "out")}["r2"] == "ok"


@pytest.mark.parametrize("models", ["[" * DEEP + "]" * DEEP, "3", "null", '{"data": 3}', '{"data": [1, null]}'])
def test_a_list_of_models_that_is_none_leaves_the_context_unknown(models):
    with chat_server(lambda _: (200, {})) as server:
        server.models = models
        assert OpenAIBackend(LUNG, SERVER, DescribeReportsResources(base_url=server.url)).context is None


def test_deep_nesting_in_a_journal_is_a_damaged_line(tmp_path):
    (tmp_path / "journal.jsonl").write_text("[" * DEEP + "\n")
    assert Journal(tmp_path).records == []


def test_a_reply_that_is_unusable_is_not_repeated_in_the_error():
    for text in REPLIES.values():
        with pytest.raises(FiveError) as caught:
            parse_reply(text, LUNG)
        assert "\ud800" not in caught.value.message
