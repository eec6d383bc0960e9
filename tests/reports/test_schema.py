from pipelines.core.questions import load_questions
from pipelines.reports.schema import answer_schema

QUESTIONS = load_questions("lung-histology")


def test_every_question_needs_evidence_and_an_allowed_answer():
    schema = answer_schema(QUESTIONS)
    assert schema["required"] == list(QUESTIONS.ids)
    margins = schema["properties"]["margins"]
    assert list(margins["properties"]) == ["evidence", "answer"]
    assert margins["properties"]["answer"]["enum"] == ["clear", "involved", "unknown"]


def test_nothing_else_is_allowed():
    schema = answer_schema(QUESTIONS)
    assert schema["additionalProperties"] is False
    assert all(entry["additionalProperties"] is False for entry in schema["properties"].values())


def test_the_schema_for_hosted_services_bounds_no_length():
    assert "maxLength" in str(answer_schema(QUESTIONS))
    assert "maxLength" not in str(answer_schema(QUESTIONS, bounded=False))
