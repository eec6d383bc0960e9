import pytest

from pipelines.reports.answers import Answer
from pipelines.reports.merging import majority, merged_parts
from pipelines.reports.sections import Sections

REPORT = "Gross description: pleura invaded. Microscopic: pleura free. Final diagnosis: carcinoma, pleura invaded."
SECTIONS = Sections(REPORT)
UNKNOWN = Answer("pleura", "unknown", None, "Unknown")


def at(word, status, nth=0):
    start = [i for i in range(len(REPORT)) if REPORT.startswith(word, i)][nth]
    end = start + len(word)
    return Answer("pleura", status, None, f"pleura {status}", word, start, end)


GROSS = at("pleura invaded", "present")
MICROSCOPY = at("pleura free", "absent")
DIAGNOSIS = at("pleura invaded", "present", nth=1)
LOOSE = Answer("pleura", "present", None, "pleura present", "made up", grounded=False)


@pytest.mark.parametrize(
    ("answers", "counts", "conflict"),
    [
        ([GROSS, MICROSCOPY], MICROSCOPY, "present"),
        ([MICROSCOPY, GROSS], MICROSCOPY, "present"),
        ([GROSS, MICROSCOPY, DIAGNOSIS], DIAGNOSIS, "absent"),
        ([GROSS, DIAGNOSIS], DIAGNOSIS, None),
        ([UNKNOWN, GROSS, UNKNOWN], GROSS, None),
        ([LOOSE, MICROSCOPY], MICROSCOPY, None),
        ([UNKNOWN, LOOSE], LOOSE, None),
        ([UNKNOWN, UNKNOWN], UNKNOWN, None),
    ],
    ids=["rank", "not order", "diagnosis first", "agree", "one speaks", "grounded first", "ungrounded", "silent"],
)
def test_the_best_section_with_a_quote_counts_and_contradiction_is_recorded(answers, counts, conflict):
    merged = merged_parts(answers, SECTIONS)
    assert (merged.status, merged.evidence_start, merged.conflict) == (counts.status, counts.evidence_start, conflict)


def test_most_samples_win_and_their_share_is_told():
    answer = majority([GROSS, MICROSCOPY, DIAGNOSIS], 3)
    assert (answer.status, answer.agreement) == ("present", pytest.approx(2 / 3))


def test_a_sample_that_could_not_be_used_agrees_with_nobody():
    assert majority([GROSS, DIAGNOSIS], 4).agreement == 0.5


def test_of_equally_many_the_first_given_counts():
    assert majority([UNKNOWN, GROSS], 2).status == "unknown"
    assert majority([GROSS, UNKNOWN], 2).status == "present"


def test_the_quote_shown_is_one_that_was_found():
    assert majority([LOOSE, GROSS], 2).evidence == "pleura invaded"


def test_one_sample_has_no_agreement():
    assert majority([GROSS], 1) == GROSS


def test_phrases_agree_whatever_their_capitals():
    phrases = [Answer("pattern", "value", None, text) for text in ("Solid nests", "solid nests", "glands")]
    assert majority(phrases, 3).agreement == pytest.approx(2 / 3)
