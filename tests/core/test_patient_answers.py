from pipelines.core.patient_answers import answers_by_patient


def row(report, status="present", question="pleura", grounded=True, patient="p"):
    return {
        "report_id": report,
        "patient_id": patient,
        "question_id": question,
        "status": status,
        "grounded": grounded,
    }


def counted(*rows):
    return answers_by_patient(rows)["p"]["pleura"]["report_id"]


def test_the_first_report_that_answers_counts():
    assert counted(row("a", "unknown"), row("b", "absent"), row("c", "present")) == "b"


def test_a_quote_that_was_found_goes_before_one_that_was_not():
    assert counted(row("a", grounded=False), row("b"), row("c")) == "b"
    assert counted(row("a", grounded=False), row("b", grounded=False)) == "a"


def test_each_question_is_merged_on_its_own():
    found = answers_by_patient([row("a"), row("a", "unknown", "margins"), row("b", "value", "margins")])
    assert {question: one["report_id"] for question, one in found["p"].items()} == {"pleura": "a", "margins": "b"}


def test_a_patient_of_whom_nothing_is_known_is_left_out():
    assert answers_by_patient([row("a", "unknown"), row("b", "failed")]) == {}
