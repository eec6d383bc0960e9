import json

import pytest

from pipelines.core.errors import ReportError
from pipelines.core.questions import load_questions
from pipelines.reports.backends.base import Reply, Sampling
from pipelines.reports.case import Case
from pipelines.reports.report_table import Report

LUNG = load_questions("lung")
REPORT = Report("r1", "p1", "The pleura is free of tumor. Margins are free.")


def reply(**answers):
    entries = {name: {"evidence": "", "answer": "unknown"} for name in LUNG.ids}
    entries |= {name: {"evidence": evidence, "answer": answer} for name, (answer, evidence) in answers.items()}
    return Reply(json.dumps(entries), prompt_tokens=2000, output_tokens=5, seconds=1.0)


GOOD = reply(pleural_invasion=("absent", "pleura is free"), margins=("clear", "Margins are free"))
LOOSE = reply(pleural_invasion=("present", "pleura is invaded"), margins=("clear", "Margins are free"))
SILENT = reply()
TOO_LONG = Reply(error="9000 tokens, but the model takes 4000 beside the reply", too_long=True)


def take(exchange, *replies):
    for one in replies:
        exchange.request()
        exchange.take(one)


def taken(*replies):
    case = Case(REPORT, LUNG)
    take(case.exchanges[0], *replies)
    return case


def voted(*replies):
    case = Case(REPORT, LUNG, [Sampling(0.7, seed) for seed in range(len(replies))])
    for exchange, one in zip(case.exchanges, replies, strict=True):
        take(exchange, one)
    return case


def by_question(answers):
    return {answer.question_id: answer for answer in answers}


def test_answers_come_in_the_order_of_the_questions():
    assert [answer.question_id for answer in taken(GOOD).settle("fail")] == list(LUNG.ids)


def test_what_stays_ungrounded_is_kept_marked_or_unknown_or_fails_the_report():
    kept = by_question(taken(LOOSE).settle("keep"))["pleural_invasion"]
    assert (kept.status, kept.grounded) == ("present", False)
    dropped = by_question(taken(LOOSE).settle("unknown"))["pleural_invasion"]
    assert (dropped.status, dropped.description, dropped.evidence) == ("unknown", "Unknown", None)
    assert not dropped.grounded
    with pytest.raises(ReportError, match=r"r1: .*pleural_invasion"):
        taken(LOOSE).settle("fail")


def test_a_report_without_any_usable_reply_fails_with_the_reason():
    with pytest.raises(ReportError, match="r1: the reply is not JSON"):
        taken(Reply("nonsense"), Reply("nonsense")).settle("keep")


LONG = Report(
    "r1", "p1", "Gross description: " + "margins involved. " * 35 + "Microscopic: " + "margins are free of tumor. " * 30
)


def split_in_two():
    case = Case(LONG, LUNG)
    take(case.exchanges[0], TOO_LONG)
    assert case.split(case.exchanges[0], 900)
    return case


def test_a_report_too_long_for_the_model_is_asked_about_in_parts():
    case = split_in_two()
    first, second = case.exchanges
    assert (first.start, first.end, second.end) == (0, LONG.text.index("Microscopic"), len(LONG.text))
    assert case.n_parts == 2
    assert case.open_exchanges(2) == [first, second]


def test_parts_are_merged_by_section_and_located_in_the_whole_report():
    case = split_in_two()
    take(case.exchanges[0], reply(margins=("involved", "margins involved")))
    take(case.exchanges[1], reply(margins=("clear", "margins are free")))
    answer = by_question(case.settle("unknown"))["margins"]
    assert (answer.value, answer.conflict) == ("clear", "involved")
    assert LONG.text[answer.evidence_start : answer.evidence_end] == "margins are free"


def test_a_part_without_an_answer_fails_the_report():
    case = split_in_two()
    take(case.exchanges[0], GOOD)
    take(case.exchanges[1], Reply(error="cut off"), Reply(error="cut off"))
    with pytest.raises(ReportError, match="cut off"):
        case.settle("keep")


def test_a_part_that_is_still_too_long_is_cut_again():
    case = split_in_two()
    take(case.exchanges[1], TOO_LONG)
    second = case.exchanges[1]
    assert case.split(second, 450)
    assert case.n_parts > 2
    assert all(len(exchange.text) <= 450 for exchange in case.exchanges[1:])
    assert case.exchanges[1].start == second.start
    assert case.exchanges[-1].end == second.end


@pytest.mark.parametrize("size", [0, 100])
def test_where_the_questions_alone_fill_the_model_nothing_is_cut(size):
    case = Case(LONG, LUNG)
    take(case.exchanges[0], TOO_LONG)
    assert not case.split(case.exchanges[0], size)
    with pytest.raises(ReportError, match="9000 tokens"):
        case.settle("keep")


def test_samples_are_drawn_with_seeds_of_their_own():
    case = voted(GOOD, LOOSE, SILENT)
    assert [exchange.request().sampling for exchange in case.exchanges] == [Sampling(0.7, seed) for seed in range(3)]


def test_samples_vote_and_their_agreement_is_recorded():
    answers = by_question(voted(GOOD, LOOSE, GOOD).settle("unknown"))
    assert (answers["pleural_invasion"].status, answers["pleural_invasion"].agreement) == (
        "absent",
        pytest.approx(2 / 3),
    )
    assert (answers["margins"].value, answers["margins"].agreement) == ("clear", 1.0)
    assert (answers["air_spaces"].status, answers["air_spaces"].agreement) == ("unknown", 1.0)


def test_a_lost_sample_lowers_agreement_and_does_not_fail_the_report():
    answers = by_question(voted(GOOD, Reply("nonsense")).settle("unknown"))
    assert (answers["margins"].value, answers["margins"].agreement) == ("clear", 0.5)
