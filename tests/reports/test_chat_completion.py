import pytest

from pipelines.reports.backends.chat_completion import MAX_COUNT, read_completion
from tests.reports.chat_server import completion


def read(**message):
    return read_completion(completion("", message=message), 1.5)


def test_the_text_and_the_counts_are_read():
    reply = read_completion(completion("{}"), 1.5)
    assert (reply.text, reply.error, reply.prompt_tokens, reply.output_tokens) == ("{}", "", 2000, 20)
    assert reply.seconds == 1.5


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": [{"type": "text", "text": "{"}, {"type": "text", "text": "}"}]}, "{}"),
        ({"content": [{"type": "thinking", "thinking": []}, {"type": "text", "text": "{}"}]}, "{}"),
        ({"content": "{}", "reasoning_content": "thoughts"}, "{}"),
        ({"content": None, "reasoning_content": "{}"}, "{}"),
        ({"content": " \n", "reasoning": "{}"}, "{}"),
    ],
    ids=["parts", "thinking part", "both", "reasoning_content", "reasoning"],
)
def test_text_is_found_where_servers_put_it(message, text):
    assert read(**message).text == text


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (completion('{"differ', finish_reason="length"), "--max-tokens"),
        (completion("", finish_reason="content_filter"), "refused"),
        (completion("", message={"refusal": "no"}), "refused"),
        ({**completion(""), "choices": []}, "no choices"),
        ({**completion(""), "choices": None}, "no choices"),
        ({**completion(""), "choices": [None]}, "without text"),
        ({**completion(""), "choices": [{"finish_reason": "stop"}]}, "without text"),
        (completion("", message={"content": [1, {"type": "text", "text": None}]}), "without text"),
        (completion("", message={"content": 7}), "without text"),
        ([], "not send a chat completion"),
        (None, "not send a chat completion"),
    ],
)
def test_a_completion_without_text_is_an_error(body, expected):
    reply = read_completion(body, 0.0)
    assert expected in reply.error
    assert reply.text == ""


@pytest.mark.parametrize("count", ["many", None, -1, MAX_COUNT, 1.5, True, [1]])
def test_a_count_that_is_none_is_left_out(count):
    reply = read_completion({**completion("{}"), "usage": {"prompt_tokens": count}}, 0.0)
    assert (reply.text, reply.prompt_tokens, reply.output_tokens) == ("{}", None, None)


@pytest.mark.parametrize("usage", [None, "many", [1]])
def test_a_server_that_counts_nothing_is_accepted(usage):
    assert read_completion({**completion("{}"), "usage": usage}, 0.0).prompt_tokens is None
