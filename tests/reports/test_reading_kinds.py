"""Backend ``rules`` on invented sentences of every kind that was once read wrongly."""

import pytest

from pipelines.core.question_files import load_questions
from pipelines.reports.backends.rules import RulesBackend
from pipelines.reports.grounding import locate
from tests.reports.reading_kinds import KINDS

BACKENDS = {name: RulesBackend(load_questions(name)) for name in {case[0] for kind in KINDS.values() for case in kind}}
CASES = [
    pytest.param(*case, id=f"{kind}-{case[1]}-{number}")
    for kind, cases in KINDS.items()
    for number, case in enumerate(cases)
]
AROUND = ["{}", "Specimen: resection.\n\n{}\n\nThe slides were reviewed.\n"]


@pytest.mark.parametrize("around", AROUND, ids=["alone", "within a report"])
@pytest.mark.parametrize(("name", "question", "text", "expected"), CASES)
def test_a_sentence_is_read_correctly_and_quoted(name, question, text, expected, around):
    report = around.format(text)
    entry = BACKENDS[name].answer(report)[question]
    assert entry["answer"] == expected
    if expected != "unknown":
        assert entry["evidence"] in report
        assert locate(entry["evidence"], report)
