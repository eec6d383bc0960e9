import json

from pipelines.core.questions import load_questions
from pipelines.reports.backends.base import Reply
from pipelines.reports.exchange import Exchange

LUNG = load_questions("lung")
TEXT = "The pleura is free of tumor. Margins are free."


def reply(prompt_tokens=2000, **answers):
    entries = {name: {"evidence": "", "answer": "unknown"} for name in LUNG.ids}
    entries |= {name: {"evidence": evidence, "answer": answer} for name, (answer, evidence) in answers.items()}
    return Reply(json.dumps(entries), prompt_tokens=prompt_tokens, output_tokens=5, seconds=1.0)


GOOD = reply(pleural_invasion=("absent", "pleura is free"), margins=("clear", "Margins are free"))
LOOSE = reply(pleural_invasion=("present", "pleura is invaded"), margins=("clear", "Margins are free"))


def taken(*replies, text=TEXT, end=None):
    exchange = Exchange(LUNG, text, 0, len(text) if end is None else end)
    for one in replies:
        exchange.request()
        exchange.take(one)
    return exchange


def test_a_good_reply_ends_the_conversation():
    assert taken().is_open(2)
    exchange = taken(GOOD)
    assert exchange.problem == ""
    assert not exchange.is_open(2)


def test_a_loose_quote_is_asked_for_once_more():
    assert taken(LOOSE).is_open(2)
    assert not taken(LOOSE, LOOSE).is_open(2)
    assert not taken(LOOSE).is_open(1)


def test_the_second_request_says_what_was_wrong_with_the_first_reply():
    conversation = taken(LOOSE).request().messages
    assert [message["role"] for message in conversation] == ["system", "user", "assistant", "user"]
    assert "pleural_invasion" in conversation[-1]["content"]
    assert "margins" not in conversation[-1]["content"]


def test_after_a_reply_without_text_the_request_is_the_same_again():
    exchange = taken(Reply(error="the server failed (HTTP 500)"))
    assert exchange.request().messages == taken().request().messages


def test_attempts_tokens_and_seconds_add_up():
    exchange = taken(Reply(error="cut off", output_tokens=7), LOOSE, GOOD)
    assert (exchange.attempts, exchange.prompt_tokens, exchange.output_tokens, exchange.seconds) == (3, 4000, 17, 2.0)


def test_grounded_answers_of_the_first_reply_outlive_a_worse_second_one():
    worse = reply(margins=("involved", "margins are involved"))
    assert taken(LOOSE, worse).answers["margins"].value == "clear"


def test_a_second_reply_that_is_not_json_does_not_undo_the_first():
    assert taken(LOOSE, Reply("nonsense")).answers["margins"].value == "clear"


def test_the_model_is_told_that_it_sees_a_part():
    assert "part of a longer report" in taken(end=20).request().messages[1]["content"]
    assert "part of a longer report" not in taken().request().messages[1]["content"]


def test_a_server_that_read_only_a_part_of_the_text_is_noticed():
    text = "Margins are free of carcinoma. " * 2000  # about 50,000 letters
    cut = taken(reply(prompt_tokens=4096), text=text)
    assert cut.too_long
    assert "cut" in cut.problem
    assert not cut.answers
    assert not taken(reply(prompt_tokens=15_000), text=text).too_long


def test_too_long_a_text_is_not_sent_again():
    exchange = taken(Reply(error="9000 tokens", too_long=True))
    assert exchange.too_long
    assert not exchange.is_open(2)


def test_only_the_second_request_being_too_long_keeps_the_first_answers():
    exchange = taken(LOOSE, Reply(error="9000 tokens", too_long=True))
    assert not exchange.too_long
    assert exchange.answers["margins"].value == "clear"
    assert not exchange.is_open(2)


def test_a_server_that_does_not_count_the_questions_it_has_cached_is_not_suspected():
    assert not taken(reply(prompt_tokens=15)).too_long
