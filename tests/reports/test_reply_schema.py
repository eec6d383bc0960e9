from pipelines.core.question_files import load_questions
from pipelines.reports.reply_schema import reply_schema

QUESTIONS = load_questions("lung-histology")


def test_every_question_needs_evidence_and_an_allowed_answer():
    schema = reply_schema(QUESTIONS)
    assert schema["required"] == list(QUESTIONS.ids)
    margins = schema["properties"]["margins"]
    assert list(margins["properties"]) == ["evidence", "answer"]
    assert margins["properties"]["answer"]["enum"] == ["clear", "involved", "unknown"]


def test_no_other_keys_are_allowed():
    schema = reply_schema(QUESTIONS)
    assert schema["additionalProperties"] is False
    assert all(entry["additionalProperties"] is False for entry in schema["properties"].values())


def test_the_schema_for_hosted_services_has_no_length_limits():
    assert "maxLength" in str(reply_schema(QUESTIONS))
    assert "maxLength" not in str(reply_schema(QUESTIONS, bounded=False))
