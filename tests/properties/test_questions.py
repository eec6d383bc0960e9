"""Question sets and class texts that strangers write; tests/core/test_yaml_file.py tries their YAML."""

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from pipelines.core.classes import load_classes
from pipelines.core.errors import ReportError
from pipelines.core.question_files import load_questions, shipped_sets
from pipelines.core.settings import DescribeReportsSettings
from pipelines.describe_reports import DescribeReportsInputs, describe_reports
from pipelines.reports import term_patterns
from pipelines.reports.backends.rules import RulesBackend
from tests.describing import TEXTS, reports_of, write_table
from tests.properties.damage import damaged, json_values, odd_text
from tests.properties.readers import examples, reads_or_refuses

SLOW = [r"(a|aa)+$", r"((a|b)+c?)+[de]", r"(\w|\s)*(\w|\s)*(\w|\s)*[^\w\s.]", r"(?=(a+)+[bc])"]
"""Regular expressions that take years on a few thousand letters."""
LETTERS = "A long report about invasion " + "a b a " * 700 + "a" * 3_000 + "."


def question_set(*expressions):
    terms = [f"/{expression}/" for expression in expressions]
    values = {"present": {"meaning": "m", "phrase": "p", "terms": terms}, "absent": {"meaning": "m", "phrase": "no p"}}
    return {
        "name": "a",
        "title": "t",
        "questions": [{"id": "q", "question": "q", "prompt": "p", "kind": "presence", "values": values}],
    }


@pytest.fixture
def questions_file(tmp_path):
    def write(data):
        (tmp_path / "q.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
        return tmp_path / "q.yaml"

    return write


@pytest.mark.parametrize("expression", SLOW)
def test_a_slow_expression_is_stopped(monkeypatch, questions_file, expression):
    monkeypatch.setattr(term_patterns, "MAX_SECONDS", 0.2)
    backend = RulesBackend(load_questions(questions_file(question_set(expression))))
    with pytest.raises(ReportError, match="takes more than"):
        backend.answer(LETTERS)


def test_a_slow_expression_fails_only_the_reports_it_is_slow_on(monkeypatch, tmp_path, questions_file):
    monkeypatch.setattr(term_patterns, "MAX_SECONDS", 0.2)
    path = questions_file(question_set(SLOW[0]))
    reports = write_table(tmp_path / "reports.csv", {"long": LETTERS, "short": TEXTS["r1"]})
    describe_reports(DescribeReportsInputs(reports), tmp_path / "out", DescribeReportsSettings(questions=str(path)))
    assert {row["report_id"]: row["status"] for row in reports_of(tmp_path / "out")} == {
        "long": "failed",
        "short": "ok",
    }


def test_an_expression_that_is_too_long_is_refused(questions_file):
    path = questions_file(question_set("a" * 100_000))
    assert reads_or_refuses(load_questions, path) is None


parts = st.sampled_from(
    [*r"ab.\w\d\b^$|()[]{}*+?-,:=!<>\\ 1", "(?:", "(?=", "(?<!", "{2,}", "{1,999}", "[^", "(?i)", r"\p"]
)


@given(st.lists(parts | st.characters(codec="utf-8"), min_size=1, max_size=12).map("".join))
@example(r"(a{1,1000}){1,1000}")
@example("(" * 300 + "a" + ")" * 300)
@examples(300)
def test_any_expression_gives_answers_or_one_error(questions_file, expression):
    path = questions_file(question_set(expression))
    before, term_patterns.MAX_SECONDS = term_patterns.MAX_SECONDS, 0.05
    try:
        reads_or_refuses(lambda: RulesBackend(load_questions(path)).answer("No invasion is seen. Grade 2, a b aab.\n"))
    finally:
        term_patterns.MAX_SECONDS = before


@pytest.mark.parametrize("name", ["lung", "breast"])
@given(data=st.data())
@examples(15)
def test_a_damaged_question_set_gives_a_set_or_one_error(tmp_path, name, data):
    (tmp_path / "q.yaml").write_bytes(data.draw(damaged(shipped_sets()[name].read_bytes())))
    reads_or_refuses(load_questions, tmp_path / "q.yaml")


CLASSES = "classes:\n  LUAD: glands\n  LUSC: [keratin, bridges]\n"


@given(
    damaged(CLASSES.encode())
    | st.dictionaries(odd_text, json_values).map(lambda classes: yaml.safe_dump({"classes": classes}).encode())
)
@examples(150)
def test_any_class_texts_give_classes_or_one_error(tmp_path, content):
    (tmp_path / "c.yaml").write_bytes(content)
    reads_or_refuses(load_classes, tmp_path / "c.yaml")
