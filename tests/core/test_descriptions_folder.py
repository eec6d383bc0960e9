"""The questions of a descriptions folder must be the ones that were asked."""

import re

import pytest

from pipelines.core.descriptions_folder import QUESTION_SET, read_descriptions, read_questions
from pipelines.core.errors import ArtifactError, FiveError
from pipelines.core.provenance import Provenance
from pipelines.core.question_files import write_questions
from pipelines.core.questions import Question, QuestionSet
from pipelines.core.schemas import ANSWERS
from tests.damage import cuts, flips, zeroed

QUESTIONS = QuestionSet(
    name="tiny",
    title="Tiny",
    questions=tuple(
        Question(id=name, question=f"Is there {name}?", prompt=f"{name} is present", kind="phrase")
        for name in ("mucin", "necrosis")
    ),
)


def answers_to(folder, ids, questions=QUESTIONS):
    rows = [{"report_id": "r1", "patient_id": "p1", "question_id": name, "status": "unknown"} for name in ids]
    ANSWERS.write(folder / "answers.parquet", rows, Provenance({QUESTION_SET: questions.fingerprint}))


@pytest.fixture
def folder(tmp_path):
    answers_to(tmp_path, QUESTIONS.ids)
    write_questions(QUESTIONS, tmp_path / "questions.yaml")
    return tmp_path


def test_questions_and_answers_that_belong_together_are_read(folder):
    questions, rows = read_descriptions(folder)
    assert questions == read_questions(folder) == QUESTIONS
    assert [row["question_id"] for row in rows] == ["mucin", "necrosis"]


@pytest.mark.parametrize("damage", [lambda content: flips(content, 300), cuts, zeroed], ids=["flips", "cuts", "zeros"])
def test_damage_to_the_questions_is_noticed_or_changes_nothing(folder, damage):
    path = folder / "questions.yaml"
    content, noticed = path.read_bytes(), 0
    for other in damage(content):
        path.write_bytes(other)
        try:
            questions = read_questions(folder)
        except FiveError:
            noticed += 1
        else:
            assert questions == QUESTIONS
    assert noticed > 0


def test_a_changed_prompt_is_named_with_the_remedy(folder):
    path = folder / "questions.yaml"
    path.write_text(path.read_text().replace("mucin is present", "mucus is present"))
    with pytest.raises(ArtifactError, match="not the questions that were asked") as error:
        read_descriptions(folder)
    assert "run the same `five describe-reports` command again" in error.value.hint


@pytest.mark.parametrize("ids", [("mucin",), ("mucin", "necrosis", "margins")])
def test_answers_to_other_questions_are_refused(folder, ids):
    answers_to(folder, ids)
    with pytest.raises(ArtifactError, match="is only in one of"):
        read_descriptions(folder)


@pytest.mark.parametrize(
    ("name", "match"),
    [("questions.yaml", "questions.yaml: no such file"), ("answers.parquet", "answers.parquet: no such file")],
)
def test_a_missing_file_is_named(folder, name, match):
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match=re.escape(match)) as error:
        read_questions(folder)
    assert "`five describe-reports`" in error.value.hint
