from pipelines.core.patient_answers import answers_by_patient


def row(report, status="present", question="pleura", grounded=True, patient="p"):
    return {
        "report_id": report,
        "patient_id": patient,
        "question_id": question,
        "status": status,
        "grounded": grounded,
    }


def report_used(*rows):
    return answers_by_patient(rows)["p"]["pleura"]["report_id"]


def test_the_first_report_that_answers_the_question_is_used():
    assert report_used(row("a", "unknown"), row("b", "absent"), row("c", "present")) == "b"


def test_answers_with_a_found_quote_are_preferred():
    assert report_used(row("a", grounded=False), row("b"), row("c")) == "b"
    assert report_used(row("a", grounded=False), row("b", grounded=False)) == "a"


def test_questions_are_merged_independently():
    answers = answers_by_patient([row("a"), row("a", "unknown", "margins"), row("b", "value", "margins")])
    assert {question: row["report_id"] for question, row in answers["p"].items()} == {"pleura": "a", "margins": "b"}


def test_a_patient_without_answers_is_left_out():
    assert answers_by_patient([row("a", "unknown"), row("b", "failed")]) == {}
