import json

from pipelines.core.question_files import load_questions
from pipelines.reports.backends.base import Reply
from pipelines.reports.conversation import Conversation

LUNG = load_questions("lung")
TEXT = "The pleura is free of tumor. Margins are free."


def reply(prompt_tokens=2000, **answers):
    entries = {name: {"evidence": "", "answer": "unknown"} for name in LUNG.ids}
    entries |= {name: {"evidence": evidence, "answer": answer} for name, (answer, evidence) in answers.items()}
    return Reply(json.dumps(entries), prompt_tokens=prompt_tokens, output_tokens=5, seconds=1.0)


GOOD = reply(pleural_invasion=("absent", "pleura is free"), margins=("clear", "Margins are free"))
UNGROUNDED = reply(pleural_invasion=("present", "pleura is invaded"), margins=("clear", "Margins are free"))


def after(*replies, text=TEXT, end=None):
    conversation = Conversation(LUNG, text, 0, len(text) if end is None else end)
    for item in replies:
        conversation.request()
        conversation.receive(item)
    return conversation


def test_a_good_reply_ends_the_conversation():
    assert after().is_open(2)
    conversation = after(GOOD)
    assert conversation.problem == ""
    assert not conversation.is_open(2)


def test_a_reply_with_an_ungrounded_quote_leads_to_one_more_request():
    assert after(UNGROUNDED).is_open(2)
    assert not after(UNGROUNDED, UNGROUNDED).is_open(2)
    assert not after(UNGROUNDED).is_open(1)


def test_the_second_request_names_the_problem_of_the_first_reply():
    chat = after(UNGROUNDED).request().messages
    assert [message["role"] for message in chat] == ["system", "user", "assistant", "user"]
    assert "pleural_invasion" in chat[-1]["content"]
    assert "margins" not in chat[-1]["content"]


def test_the_request_is_repeated_unchanged_after_a_reply_without_text():
    conversation = after(Reply(error="the server failed (HTTP 500)"))
    assert conversation.request().messages == after().request().messages


def test_attempts_tokens_and_seconds_add_up():
    conversation = after(Reply(error="cut off", output_tokens=7), UNGROUNDED, GOOD)
    assert (conversation.attempts, conversation.prompt_tokens, conversation.output_tokens, conversation.seconds) == (
        3,
        4000,
        17,
        2.0,
    )


def test_a_grounded_answer_is_kept_if_the_second_reply_is_ungrounded():
    worse = reply(margins=("involved", "margins are involved"))
    assert after(UNGROUNDED, worse).answers["margins"].value == "clear"


def test_the_first_answers_are_kept_if_the_second_reply_is_not_json():
    assert after(UNGROUNDED, Reply("nonsense")).answers["margins"].value == "clear"


def test_the_request_says_if_the_text_is_a_part_of_a_report():
    assert "part of a longer report" in after(end=20).request().messages[1]["content"]
    assert "part of a longer report" not in after().request().messages[1]["content"]


def test_a_server_that_cuts_the_text_is_detected():
    text = "Margins are free of carcinoma. " * 2000  # about 50,000 letters
    cut = after(reply(prompt_tokens=4096), text=text)
    assert cut.too_long
    assert "cut" in cut.problem
    assert not cut.answers
    assert not after(reply(prompt_tokens=15_000), text=text).too_long


def test_a_text_that_is_too_long_is_not_sent_again():
    conversation = after(Reply(error="9000 tokens", too_long=True))
    assert conversation.too_long
    assert not conversation.is_open(2)


def test_the_first_answers_are_kept_if_only_the_second_request_is_too_long():
    conversation = after(UNGROUNDED, Reply(error="9000 tokens", too_long=True))
    assert not conversation.too_long
    assert conversation.answers["margins"].value == "clear"
    assert not conversation.is_open(2)


def test_a_server_that_does_not_count_cached_questions_is_accepted():
    assert not after(reply(prompt_tokens=15)).too_long
