import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.core.errors import ReportError
from pipelines.core.question_files import load_questions
from pipelines.core.questions import Question, QuestionSet
from pipelines.reports.reply_reader import MAX_FALSE_STARTS, BackendAnswer, parse_reply

QUESTIONS = load_questions("lung-histology")
PATTERN = QUESTIONS.questions[-1].id
SECRET = "Mrs Example has a tumor"
CLEAR = BackendAnswer("clear", "Margins are clear")
ENTRY = {"answer": "clear", "evidence": "Margins are clear"}


def entries(**changes):
    return {**{name: {"evidence": "", "answer": "unknown"} for name in QUESTIONS.ids}, **changes}


def reply(**changes):
    return json.dumps(entries(**changes))


GOOD = reply(margins=ENTRY)
DRAFT = reply(margins={"answer": "involved", "evidence": ""})


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"\n{GOOD}\n",
        f"<think>\nThe margins {{maybe}} are clear.\n</think>\n\n{GOOD}",
        f"<think>A draft: {DRAFT}</think>{GOOD}",
        f"A draft without a start: {DRAFT}</think>{GOOD}",
        f"[THINK]{DRAFT}[/THINK]{GOOD}",
        f"<|channel|>analysis<|message|>{DRAFT}<|end|><|start|>assistant<|channel|>final<|message|>{GOOD}",
        f"```json\n{GOOD}\n```",
        f"```\n{GOOD}\n```",
        f"Here is the JSON you asked for:\n\n{GOOD}\n\nLet me know if you need more.",
        f'For each entry I use {{"evidence": "...", "answer": "..."}}.\n{GOOD}',
        f"First: {DRAFT}. No, I correct myself: {GOOD}",
        f'{GOOD} with an entry such as {{"margins": {{"answer": "involved"}}}}',
        "{" * (MAX_FALSE_STARTS - 1) + GOOD,
        json.dumps([entries(margins=ENTRY)]),
        json.dumps({"findings": entries(margins=ENTRY)}),
        json.dumps({"result": {"answers": [entries(margins=ENTRY)]}}),
        json.dumps({**entries(margins=ENTRY), "comment": SECRET}),
        json.dumps({name.upper().replace("_", " "): entry for name, entry in entries(margins=ENTRY).items()}),
    ],
)
def test_the_object_with_the_answers_is_found_in_any_reply(text):
    assert parse_reply(text, QUESTIONS)["margins"] == CLEAR


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"answer": "Clear", "evidence": "x"}, BackendAnswer("clear", "x")),
        ({"answer": " CLEAR.", "evidence": "x"}, BackendAnswer("clear", "x")),
        ({"Answer": "clear", "EVIDENCE": "x"}, BackendAnswer("clear", "x")),
        ({"answer": "clear", "evidence": "x", "confidence": 0.9}, BackendAnswer("clear", "x")),
        ({"answer": "clear", "evidence": None}, BackendAnswer("clear", "")),
        ({"answer": "clear"}, BackendAnswer("clear", "")),
        ({"answer": "clear", "evidence": ["", "x", "y"]}, BackendAnswer("clear", "x")),
        ({"answer": "clear", "evidence": []}, BackendAnswer("clear", "")),
        ({"answer": None, "evidence": None}, BackendAnswer("unknown", "")),
        ("clear", BackendAnswer("clear", "")),
        (None, BackendAnswer("unknown", "")),
    ],
)
def test_entries_may_differ_in_capitals_keys_and_null(entry, expected):
    assert parse_reply(reply(margins=entry), QUESTIONS)["margins"] == expected


def test_a_line_end_within_a_quote_is_accepted():
    text = GOOD.replace("Margins are clear", "Margins\nare clear")
    assert parse_reply(text, QUESTIONS)["margins"].evidence == "Margins\nare clear"


@pytest.mark.parametrize("answer", ["Unknown", "", " unknown ", None])
def test_an_empty_phrase_is_unknown(answer):
    text = reply(**{PATTERN: {"answer": answer, "evidence": "x"}})
    assert parse_reply(text, QUESTIONS)[PATTERN] == BackendAnswer("unknown", "")


def test_a_phrase_keeps_its_spelling():
    text = reply(**{PATTERN: {"answer": "Solid Nests", "evidence": "x"}})
    assert parse_reply(text, QUESTIONS)[PATTERN].answer == "Solid Nests"


def set_of(*answers):
    values = {answer: {"meaning": "m " + answer, "phrase": "p " + answer} for answer in answers}
    fields = {"id": "grade", "question": "?", "prompt": "grade", "kind": "choice", "values": values}
    return QuestionSet(name="x", title="x", questions=(Question.model_validate(fields),))


@pytest.mark.parametrize(("value", "expected"), [("t1_1", "t1_1"), ("t11", "t11"), ("T2", "t2")])
def test_answers_that_differ_in_punctuation_alone_are_kept_apart(value, expected):
    text = json.dumps({"grade": {"answer": value, "evidence": "x"}})
    assert parse_reply(text, set_of("t1_1", "t11", "t2"))["grade"].answer == expected


def test_an_answer_that_could_be_either_of_two_is_an_error():
    with pytest.raises(ReportError, match="not one of"):
        parse_reply(json.dumps({"grade": {"answer": "T1.1", "evidence": "x"}}), set_of("t1_1", "t11", "t2"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        SECRET,
        f'{{"differentiation": "{SECRET}"',
        json.dumps([SECRET]),
        json.dumps({SECRET: 1}),
        json.dumps([entries(), entries()]),
        json.dumps({"differentiation": {"answer": "well", "evidence": SECRET}}),
        reply(margins={"answer": SECRET, "evidence": SECRET}),
        reply(margins={"answer": ["clear"], "evidence": SECRET}),
        reply(margins={"answer": True, "evidence": SECRET}),
        reply(margins={"answer": "clear", "evidence": {SECRET: 1}}),
        reply(margins={"answer": "clear", "evidence": [[SECRET]]}),
        reply(margins={"evidence": SECRET}),
        reply(margins=[SECRET]),
        reply(margins={"answer": "clear", "evidence": SECRET + "\ud800"}),
        f"<think>{GOOD}",
        "{" * (MAX_FALSE_STARTS + 1) + GOOD,
        json.dumps({"a": {"b": {"c": {"d": {"e": entries()}}}}}),
    ],
)
def test_a_reply_without_valid_answers_is_an_error_that_does_not_repeat_it(text):
    with pytest.raises(ReportError) as caught:
        parse_reply(text, QUESTIONS)
    assert "Example" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


names = st.sampled_from([*QUESTIONS.ids, "Margins", "answer", "evidence", "x"])
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["clear", "unknown", "Present"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=7),
    max_leaves=12,
)


@given(any_json, st.text(max_size=20), st.text(max_size=20))
def test_any_reply_gives_allowed_answers_or_an_error(data, before, after):
    try:
        given_answers = parse_reply(before + json.dumps(data) + after, QUESTIONS)
    except ReportError:
        return
    for question in QUESTIONS.questions:
        assert question.kind == "phrase" or given_answers[question.id].answer in question.answers
