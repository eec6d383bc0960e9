import pytest

from pipelines.reports.sections import RANK, Sections

REPORT = (
    "LUNG, LOBECTOMY: carcinoma. Clinical history: cough. GROSS DESCRIPTION: a mass. "
    "Microscopic description: glands. Synoptic report: size 2 cm. Addendum: EGFR. Final diagnosis: as above."
)


@pytest.mark.parametrize(
    ("word", "section"),
    [
        ("LOBECTOMY", "diagnosis"),
        ("cough", "clinical"),
        ("mass", "gross"),
        ("glands", "microscopic"),
        ("2 cm", "synoptic"),
        ("EGFR", "addendum"),
        ("as above", "diagnosis"),
    ],
)
def test_text_belongs_to_the_heading_before_it(word, section):
    assert Sections(REPORT).at(REPORT.index(word)) == section


def test_what_a_report_says_under_the_microscope_ranks_before_what_the_naked_eye_saw():
    assert RANK.index("diagnosis") < RANK.index("microscopic") < RANK.index("gross") < RANK.index("clinical")


def test_words_in_a_sentence_are_no_heading():
    report = "Final diagnosis: carcinoma. Frozen section diagnosis is confirmed. No microscopic invasion is seen."
    assert Sections(report).at(report.index("invasion")) == "diagnosis"


def test_a_heading_belongs_to_its_section():
    assert Sections(REPORT).at(REPORT.index("GROSS")) == "gross"
