import json

import pytest

from pipelines.core.errors import ReportError
from pipelines.core.questions import load_questions
from pipelines.reports.backends.base import Reply
from pipelines.reports.case import Case
from pipelines.reports.report_table import Report

LUNG = load_questions("lung")
REPORT = Report("r1", "p1", "The pleura is free of tumor. Margins are free.")


def reply(**answers):
    entries = {name: {"evidence": "", "answer": "unknown"} for name in LUNG.ids}
    entries |= {name: {"evidence": evidence, "answer": answer} for name, (answer, evidence) in answers.items()}
    return Reply(json.dumps(entries), prompt_tokens=10, output_tokens=5, seconds=1.0)


GOOD = reply(pleural_invasion=("absent", "pleura is free"), margins=("clear", "Margins are free"))
LOOSE = reply(pleural_invasion=("present", "pleura is invaded"), margins=("clear", "Margins are free"))


def taken(*replies):
    case = Case(REPORT, LUNG)
    for one in replies:
        case.take(one)
    return case


def by_question(answers):
    return {answer.question_id: answer for answer in answers}


def test_a_good_reply_leaves_no_problem():
    case = taken(GOOD)
    assert case.problem == ""
    assert [answer.question_id for answer in case.settle("fail")] == list(LUNG.ids)


def test_the_second_request_says_what_was_wrong_with_the_first_reply():
    case = taken(LOOSE)
    assert [message["role"] for message in case.request().messages] == ["system", "user", "assistant", "user"]
    assert "pleural_invasion" in case.request().messages[-1]["content"]
    assert "margins" not in case.request().messages[-1]["content"]


def test_after_a_reply_without_text_the_request_is_the_same_again():
    case = taken(Reply(error="the server failed (HTTP 500)"))
    assert [message["role"] for message in case.request().messages] == ["system", "user"]


def test_attempts_tokens_and_seconds_add_up():
    case = taken(Reply(error="cut off", output_tokens=7), LOOSE, GOOD)
    assert (case.attempts, case.prompt_tokens, case.output_tokens, case.seconds) == (3, 20, 17, 2.0)


def test_grounded_answers_of_the_first_reply_outlive_a_worse_second_one():
    worse = reply(margins=("involved", "margins are involved"))
    answers = by_question(taken(LOOSE, worse).settle("keep"))
    assert answers["margins"].value == "clear"


def test_a_second_reply_that_is_not_json_does_not_undo_the_first():
    answers = by_question(taken(LOOSE, Reply("nonsense")).settle("unknown"))
    assert answers["margins"].value == "clear"


def test_what_stays_ungrounded_is_kept_marked_or_unknown_or_fails_the_report():
    kept = by_question(taken(LOOSE).settle("keep"))["pleural_invasion"]
    assert (kept.status, kept.grounded) == ("present", False)
    dropped = by_question(taken(LOOSE).settle("unknown"))["pleural_invasion"]
    assert (dropped.status, dropped.description, dropped.evidence) == ("unknown", "Unknown", None)
    with pytest.raises(ReportError, match=r"r1: .*pleural_invasion"):
        taken(LOOSE).settle("fail")


def test_a_report_without_any_usable_reply_fails_with_the_reason():
    with pytest.raises(ReportError, match="r1: the reply is not JSON"):
        taken(Reply("nonsense"), Reply("nonsense")).settle("keep")
