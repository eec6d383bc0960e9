"""What a server refuses, in the words of the servers, and how it is asked after that."""

import json

import pytest

from pipelines.reports.backends.base import Sampling
from pipelines.reports.backends.chat_dialect import OBJECT, SCHEMA, STRICT_SCHEMA, TEXT, Dialect

MESSAGES = [{"role": "system", "content": "Instructions."}, {"role": "user", "content": "Report."}]
REPLY_SCHEMA = {"type": "object"}


def parameters(dialect):
    return dialect.parameters(MESSAGES, Sampling(0.5, 3), 77, REPLY_SCHEMA)


@pytest.mark.parametrize(
    ("statement", "simpler"),
    [
        ("Unrecognized request argument supplied: seed", Dialect(seed=False)),
        ("body seed Extra inputs are not permitted", Dialect(seed=False)),
        ('Invalid JSON payload received. Unknown name "seed": Cannot find field.', Dialect(seed=False)),
        ("temperature Unsupported value: 'temperature' does not support 0.0", Dialect(temperature=False)),
        ("`temperature` must be strictly positive", Dialect(temperature=False)),
        ("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.", Dialect(limit=1)),
        ("response_format.type json_schema is not supported, use json_object or text", Dialect(format=SCHEMA)),
        ("This response_format type is unavailable now", Dialect(format=SCHEMA)),
        ("body response_format json_schema strict extra fields not permitted", Dialect(format=SCHEMA)),
        ("Failed to parse grammar", Dialect(format=SCHEMA)),
        ("The provided JSON schema contains features not supported by xgrammar.", Dialect(format=SCHEMA)),
        ("'response_format.type' must be 'json_schema' or 'text'", Dialect(format=SCHEMA)),
        ("the model crashed", None),
        ("unseeded maximum temperatures", None),
    ],
)
def test_the_parameter_that_a_server_names_is_left_out_or_made_simpler(statement, simpler):
    assert Dialect().after_refusal(statement) == simpler


def test_the_first_parameter_that_can_still_be_left_out_counts():
    assert Dialect().after_refusal("seed and temperature are not supported") == Dialect(seed=False)
    assert Dialect(seed=False).after_refusal("seed and temperature are not supported") == Dialect(
        seed=False, temperature=False
    )


def test_each_parameter_can_be_refused_until_nothing_is_left():
    dialect, steps = Dialect(), 0
    while (simpler := dialect.after_refusal("seed temperature max_tokens response_format")) is not None:
        dialect, steps = simpler, steps + 1
    assert dialect == Dialect(format=TEXT, limit=2, temperature=False, seed=False)
    assert steps == 1 + 1 + 2 + 3
    assert parameters(dialect).keys() == {"messages"}


@pytest.mark.parametrize(
    ("format", "expected"),
    [
        (
            STRICT_SCHEMA,
            {"type": "json_schema", "json_schema": {"name": "findings", "schema": REPLY_SCHEMA, "strict": True}},
        ),
        (SCHEMA, {"type": "json_schema", "json_schema": {"name": "findings", "schema": REPLY_SCHEMA}}),
        (OBJECT, {"type": "json_object"}),
        (TEXT, None),
    ],
)
def test_the_schema_is_in_the_parameters_or_in_the_instructions(format, expected):
    sent = parameters(Dialect(format=format))
    assert sent.get("response_format") == expected
    in_instructions = json.dumps(REPLY_SCHEMA, separators=(",", ":")) in sent["messages"][0]["content"]
    assert in_instructions == (format >= OBJECT)
    assert sent["messages"][1] == MESSAGES[1]
    assert MESSAGES[0]["content"] == "Instructions."
    assert (sent["temperature"], sent["seed"], sent["max_tokens"]) == (0.5, 3, 77)


def test_the_token_limit_is_sent_by_its_other_name_or_not_at_all():
    assert parameters(Dialect(limit=1))["max_completion_tokens"] == 77
    assert "max_tokens" not in parameters(Dialect(limit=1))
    assert not parameters(Dialect(limit=2)).keys() & {"max_tokens", "max_completion_tokens"}


def test_only_what_differs_from_the_usual_is_shown():
    assert Dialect().facts() == {}
    assert Dialect(format=OBJECT, limit=2, seed=False).facts() == {
        "replies_asked_for_as": "a JSON object, with the schema in the instructions",
        "not_accepted_by_the_server": "seed, max_tokens",
    }
