import pytest

from pipelines.reports.sections import SECTION_PRIORITY, Sections

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


def test_microscopy_has_priority_over_the_gross_description():
    assert (
        SECTION_PRIORITY.index("diagnosis")
        < SECTION_PRIORITY.index("microscopic")
        < SECTION_PRIORITY.index("gross")
        < SECTION_PRIORITY.index("clinical")
    )


def test_words_within_a_sentence_are_not_a_heading():
    report = "Final diagnosis: carcinoma. Frozen section diagnosis is confirmed. No microscopic invasion is seen."
    assert Sections(report).at(report.index("invasion")) == "diagnosis"


def test_a_heading_belongs_to_its_section():
    assert Sections(REPORT).at(REPORT.index("GROSS")) == "gross"
