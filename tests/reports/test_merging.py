import pytest

from pipelines.reports.answers import Answer
from pipelines.reports.merging import majority_answer, merge_parts
from pipelines.reports.sections import Sections

REPORT = "Gross description: pleura invaded. Microscopic: pleura free. Final diagnosis: carcinoma, pleura invaded."
SECTIONS = Sections(REPORT)
UNKNOWN = Answer("pleura", "unknown", None, "Unknown")


def quote(words, status, nth=0):
    start = [i for i in range(len(REPORT)) if REPORT.startswith(words, i)][nth]
    end = start + len(words)
    return Answer("pleura", status, None, f"pleura {status}", words, start, end)


GROSS = quote("pleura invaded", "present")
MICROSCOPY = quote("pleura free", "absent")
DIAGNOSIS = quote("pleura invaded", "present", nth=1)
UNGROUNDED = Answer("pleura", "present", None, "pleura present", "made up", grounded=False)


@pytest.mark.parametrize(
    ("answers", "winner", "conflict"),
    [
        ([GROSS, MICROSCOPY], MICROSCOPY, "present"),
        ([MICROSCOPY, GROSS], MICROSCOPY, "present"),
        ([GROSS, MICROSCOPY, DIAGNOSIS], DIAGNOSIS, "absent"),
        ([GROSS, DIAGNOSIS], DIAGNOSIS, None),
        ([UNKNOWN, GROSS, UNKNOWN], GROSS, None),
        ([UNGROUNDED, MICROSCOPY], MICROSCOPY, None),
        ([UNKNOWN, UNGROUNDED], UNGROUNDED, None),
        ([UNKNOWN, UNKNOWN], UNKNOWN, None),
    ],
    ids=["rank", "not order", "diagnosis first", "agree", "one known", "grounded first", "ungrounded", "all unknown"],
)
def test_the_quote_in_the_best_section_wins_and_contradictions_are_recorded(answers, winner, conflict):
    merged = merge_parts(answers, SECTIONS)
    assert (merged.status, merged.evidence_start, merged.conflict) == (winner.status, winner.evidence_start, conflict)


def test_the_most_frequent_answer_wins_and_its_share_is_recorded():
    answer = majority_answer([GROSS, MICROSCOPY, DIAGNOSIS], 3)
    assert (answer.status, answer.agreement) == ("present", pytest.approx(2 / 3))


def test_an_unusable_sample_counts_as_disagreement():
    assert majority_answer([GROSS, DIAGNOSIS], 4).agreement == 0.5


def test_the_first_answer_wins_a_tie():
    assert majority_answer([UNKNOWN, GROSS], 2).status == "unknown"
    assert majority_answer([GROSS, UNKNOWN], 2).status == "present"


def test_a_grounded_quote_is_preferred():
    assert majority_answer([UNGROUNDED, GROSS], 2).evidence == "pleura invaded"


def test_one_sample_has_no_agreement():
    assert majority_answer([GROSS], 1) == GROSS


def test_phrases_are_compared_without_case():
    phrases = [Answer("pattern", "value", None, text) for text in ("Solid nests", "solid nests", "glands")]
    assert majority_answer(phrases, 3).agreement == pytest.approx(2 / 3)
