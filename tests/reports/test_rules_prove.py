"""Whatever a report looks like, the rules quote it verbatim, and each of their quotes proves its answer."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.core.question_files import load_questions
from pipelines.reports.answers import ground
from pipelines.reports.backends.rules import RulesBackend
from pipelines.reports.reply_reader import BackendAnswer
from tests.reports.reading_kinds import KINDS

BACKENDS = {name: RulesBackend(load_questions(name)) for name in ("lung", "breast", "kidney")}
SENTENCES = [case[2] for cases in KINDS.values() for case in cases]
ODD = [
    "\n",
    "\n\n",
    ": ",
    " - ",
    "[x] ",
    "| ",
    "\t",
    "  ",
    "\xad\n",
    "-\n",
    "\ufb01",
    "e\u0308",
    "ADDENDUM: corrected. ",
    "No ",
]
reports = st.lists(st.sampled_from(SENTENCES + ODD) | st.text("aBx [](:;.-_|\n\u0308\ufb01", max_size=8), max_size=8)


@pytest.mark.parametrize("name", BACKENDS)
@given(parts=reports)
@settings(max_examples=60, deadline=None)
def test_every_answer_is_quoted_verbatim_and_proved(name, parts):
    report = "".join(parts)
    backend = BACKENDS[name]
    entries = backend.answer(report)
    for question in backend.questions.questions:
        entry = entries[question.id]
        if entry["answer"] == "unknown":
            continue
        assert entry["evidence"] in report
        answer = ground(question, BackendAnswer(**entry), report, language=backend.questions.language)
        assert answer.evidence_start is not None
        assert answer.support == "supported"
