"""Backend ``rules`` with the shipped question sets, on snippets of reports written for these tests."""

import pytest

from pipelines.core.question_files import load_questions, shipped_sets
from pipelines.question_sets import check_questions
from pipelines.reports.backends.rules import RulesBackend
from pipelines.reports.grounding import locate
from tests.reports.question_snippets import SNIPPETS

CASES = [
    pytest.param(name, question, report, answer, id=f"{name}-{question}-{report[:40]}")
    for name, questions in SNIPPETS.items()
    for question, reports in questions.items()
    for report, answer in reports.items()
]
BACKENDS = {name: RulesBackend(load_questions(name)) for name in SNIPPETS}


@pytest.mark.parametrize(("name", "question", "report", "expected"), CASES)
def test_the_rules_answer_a_snippet_correctly_and_quote_it(name, question, report, expected):
    entry = BACKENDS[name].answer(report)[question]
    assert entry["answer"] == expected
    if expected != "unknown":
        assert locate(entry["evidence"], report)


def test_every_other_shipped_set_is_tested_here():
    assert set(SNIPPETS) == set(shipped_sets()) - {"lung", "lung-paper", "lung-histology"}


@pytest.mark.parametrize("name", SNIPPETS)
def test_every_question_and_every_answer_has_a_snippet(name):
    for question in load_questions(name).questions:
        answers = set(SNIPPETS[name][question.id].values())
        assert answers == set(question.answers), question.id


@pytest.mark.parametrize("name", shipped_sets())
def test_a_shipped_set_has_no_notes_except_for_missing_examples(name):
    assert not [note for note in check_questions(name).notes if not note.endswith("no examples")]


@pytest.mark.parametrize("name", SNIPPETS)
def test_a_set_names_its_source_protocols(name):
    about = load_questions(name).about
    assert "College of American Pathologists" in about
    assert "International Collaboration on Cancer Reporting" in about
