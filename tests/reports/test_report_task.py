import json

import pytest

from pipelines.core.errors import ReportError
from pipelines.core.question_files import load_questions
from pipelines.reports.backends.base import Reply, Sampling
from pipelines.reports.report_table import Report
from pipelines.reports.report_task import ReportTask

LUNG = load_questions("lung")
REPORT = Report("r1", "p1", "The pleura is free of tumor. Margins are free.")


def reply(**answers):
    entries = {name: {"evidence": "", "answer": "unknown"} for name in LUNG.ids}
    entries |= {name: {"evidence": evidence, "answer": answer} for name, (answer, evidence) in answers.items()}
    return Reply(json.dumps(entries), prompt_tokens=2000, output_tokens=5, seconds=1.0)


GOOD = reply(pleural_invasion=("absent", "pleura is free"), margins=("clear", "Margins are free"))
UNGROUNDED = reply(pleural_invasion=("present", "pleura is invaded"), margins=("clear", "Margins are free"))
ALL_UNKNOWN = reply()
TOO_LONG = Reply(error="9000 tokens, but the model accepts 4000 besides the reply", too_long=True)


def send(conversation, *replies):
    for item in replies:
        conversation.request()
        conversation.receive(item)


def after(*replies):
    task = ReportTask(REPORT, LUNG)
    send(task.conversations[0], *replies)
    return task


def after_votes(*replies):
    task = ReportTask(REPORT, LUNG, [Sampling(0.7, seed) for seed in range(len(replies))])
    for conversation, item in zip(task.conversations, replies, strict=True):
        send(conversation, item)
    return task


def by_question(answers):
    return {answer.question_id: answer for answer in answers}


def test_answers_come_in_the_order_of_the_questions():
    assert [answer.question_id for answer in after(GOOD).final_answers("fail")] == list(LUNG.ids)


def test_an_ungrounded_answer_is_kept_or_becomes_unknown_or_fails_the_report():
    kept = by_question(after(UNGROUNDED).final_answers("keep"))["pleural_invasion"]
    assert (kept.status, kept.grounded) == ("present", False)
    dropped = by_question(after(UNGROUNDED).final_answers("unknown"))["pleural_invasion"]
    assert (dropped.status, dropped.description, dropped.evidence) == ("unknown", "Unknown", None)
    assert not dropped.grounded
    with pytest.raises(ReportError, match=r"r1: .*pleural_invasion"):
        after(UNGROUNDED).final_answers("fail")


def test_a_report_without_any_usable_reply_fails_with_the_reason():
    with pytest.raises(ReportError, match="r1: the reply has no JSON object with the answers"):
        after(Reply("nonsense"), Reply("nonsense")).final_answers("keep")


LONG = Report(
    "r1", "p1", "Gross description: " + "margins involved. " * 35 + "Microscopic: " + "margins are free of tumor. " * 30
)


def split_in_two():
    task = ReportTask(LONG, LUNG)
    send(task.conversations[0], TOO_LONG)
    assert task.split(task.conversations[0], 900)
    return task


def test_a_report_too_long_for_the_model_is_split_into_parts():
    task = split_in_two()
    first, second = task.conversations
    assert (first.start, first.end, second.end) == (0, LONG.text.index("Microscopic"), len(LONG.text))
    assert task.n_parts == 2
    assert task.open_conversations(2) == [first, second]


def test_parts_are_merged_by_section_and_located_in_the_whole_report():
    task = split_in_two()
    send(task.conversations[0], reply(margins=("involved", "margins involved")))
    send(task.conversations[1], reply(margins=("clear", "margins are free")))
    answer = by_question(task.final_answers("unknown"))["margins"]
    assert (answer.value, answer.conflict) == ("clear", "involved")
    assert LONG.text[answer.evidence_start : answer.evidence_end] == "margins are free"


def test_a_part_without_an_answer_fails_the_report():
    task = split_in_two()
    send(task.conversations[0], GOOD)
    send(task.conversations[1], Reply(error="cut off"), Reply(error="cut off"))
    with pytest.raises(ReportError, match="cut off"):
        task.final_answers("keep")


def test_a_part_that_is_still_too_long_is_cut_again():
    task = split_in_two()
    send(task.conversations[1], TOO_LONG)
    second = task.conversations[1]
    assert task.split(second, 450)
    assert task.n_parts > 2
    assert all(len(conversation.text) <= 450 for conversation in task.conversations[1:])
    assert task.conversations[1].start == second.start
    assert task.conversations[-1].end == second.end


@pytest.mark.parametrize("size", [0, 100])
def test_nothing_is_cut_if_the_questions_alone_fill_the_model(size):
    task = ReportTask(LONG, LUNG)
    send(task.conversations[0], TOO_LONG)
    assert not task.split(task.conversations[0], size)
    with pytest.raises(ReportError, match="9000 tokens"):
        task.final_answers("keep")


def test_each_sample_has_its_own_seed():
    task = after_votes(GOOD, UNGROUNDED, ALL_UNKNOWN)
    assert [conversation.request().sampling for conversation in task.conversations] == [
        Sampling(0.7, seed) for seed in range(3)
    ]


def test_samples_vote_and_their_agreement_is_recorded():
    answers = by_question(after_votes(GOOD, UNGROUNDED, GOOD).final_answers("unknown"))
    assert (answers["pleural_invasion"].status, answers["pleural_invasion"].agreement) == (
        "absent",
        pytest.approx(2 / 3),
    )
    assert (answers["margins"].value, answers["margins"].agreement) == ("clear", 1.0)
    assert (answers["air_spaces"].status, answers["air_spaces"].agreement) == ("unknown", 1.0)


def test_an_unusable_sample_lowers_the_agreement_but_does_not_fail_the_report():
    answers = by_question(after_votes(GOOD, Reply("nonsense")).final_answers("unknown"))
    assert (answers["margins"].value, answers["margins"].agreement) == ("clear", 0.5)
