from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.reports.clauses import split_clauses


def texts(report):
    return [clause.text for clause in split_clauses(report)]


def test_sentences_are_separated():
    assert texts("The margin is free. Tumor invades the pleura.") == [
        "The margin is free.",
        "Tumor invades the pleura.",
    ]


@pytest.mark.parametrize(
    "report",
    [
        "There is no. pleural invasion.",
        "Tumor invades the\npleura.",
        "GRADE. 2 CARCINOMA",
        "tumor extends to. THE WALL",
    ],
)
def test_a_line_end_in_the_middle_of_a_sentence_does_not_end_it(report):
    assert texts(report) == [report]


def test_a_capitalized_small_word_starts_a_sentence_in_mixed_case_text():
    assert texts("The pleura is free. With the margin. At the hilum lies a node.") == [
        "The pleura is free.",
        "With the margin.",
        "At the hilum lies a node.",
    ]


def test_lines_of_a_synoptic_report_are_separated():
    assert texts("Margins: negative. Pleural invasion: absent. Grade: 2") == [
        "Margins: negative.",
        "Pleural invasion: absent.",
        "Grade: 2",
    ]


def test_list_items_are_separated():
    assert texts("- Margins free\n- Pleura invaded") == ["- Margins free", "- Pleura invaded"]


def test_headings_set_the_section():
    report = "Clinical history: cough. Gross description: a pale mass. Microscopic: glands of tumor."
    assert [clause.section for clause in split_clauses(report)] == ["clinical", "gross", "micro"]


@given(st.text(alphabet="ab AB.,;:-\n1", max_size=80))
def test_the_offsets_of_a_clause_give_its_letters(report):
    clauses = split_clauses(report)
    for clause in clauses:
        quote = report[clause.start : clause.end]
        assert quote == quote.strip()
        assert [c for c in quote if c.isalnum()] == [c for c in clause.text if c.isalnum()]
    assert all(a.end <= b.start for a, b in pairwise(clauses))


@given(st.text(alphabet="ab AB.,;:-\n1", max_size=80))
def test_no_letter_of_a_report_is_lost(report):
    kept = "".join(clause.text for clause in split_clauses(report))
    assert sum(map(str.isalnum, kept)) == sum(map(str.isalnum, report))
