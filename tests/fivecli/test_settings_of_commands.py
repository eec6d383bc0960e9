"""Every settings field is an option with the name, default, choices and help text of the field."""

from dataclasses import MISSING, fields, replace
from inspect import signature
from typing import get_args

import pytest

from fivecli import demo, describe_reports, embed, evaluate, evaluate_descriptions, predict, tile, train
from fivecli.settings_options import field_help
from pipelines.core import settings
from pipelines.core.errors import SettingsError
from pipelines.core.settings import choices_of, field_rules

COMMANDS = [
    (tile.command, settings.TileSettings),
    (embed.command, settings.EmbedSettings),
    (describe_reports.command, settings.DescribeReportsSettings),
    (train.command, settings.TrainSettings),
    (predict.command, settings.PredictSettings),
    (evaluate.command, settings.EvaluateSettings),
    (evaluate_descriptions.command, settings.EvaluateDescriptionsSettings),
    (demo.cohort, settings.DemoSettings),
]
REPEATED = {"encoder": lambda default: [default], "weights": lambda _: []}
"""Options of `five embed` that may be given several times: one settings object is made per encoder."""


@pytest.mark.parametrize(("command", "cls"), COMMANDS)
def test_every_setting_is_an_option_with_the_default_of_its_class(command, cls):
    defaults = {name: parameter.default for name, parameter in signature(command).parameters.items()}
    for field in fields(cls):
        expected = field.default
        if command is embed.command and field.name in REPEATED:
            expected = REPEATED[field.name](expected)
        assert defaults[field.name] == expected, field.name


@pytest.mark.parametrize(("command", "_"), COMMANDS)
def test_every_command_with_settings_reads_a_file(command, _):
    assert "config" in signature(command).parameters


@pytest.mark.parametrize(("command", "cls"), COMMANDS)
def test_an_option_offers_the_choices_of_its_setting(command, cls):
    parameters = signature(command).parameters
    for rules in field_rules(cls):
        if rules.choices:
            assert choices_of(get_args(parameters[rules.name].annotation)[0]) == rules.choices


def refusal(settings_object, name, value):
    """Return the error message for the value, or an empty string if it is accepted."""
    try:
        replace(settings_object, **{name: value})
    except SettingsError as error:
        return error.message
    return ""


@pytest.mark.parametrize("cls", [*(cls for _, cls in COMMANDS), settings.PictureSettings])
def test_settings_made_in_python_have_the_same_choices(cls):
    valid = cls(**{rules.name: rules.choices[0] for rules in field_rules(cls) if rules.default is MISSING})
    for rules in field_rules(cls):
        if rules.choices:
            assert refusal(valid, rules.name, "nonsense") == f"{rules.name}: 'nonsense' is not known"
            # some choices need another setting, but all are known
            assert not [choice for choice in rules.choices if "not known" in refusal(valid, rules.name, choice)]


@pytest.mark.parametrize("cls", [*(cls for _, cls in COMMANDS), settings.PictureSettings])
def test_every_setting_has_a_docstring(cls):
    assert not [field.name for field in fields(cls) if not field_help(cls, field.name)]
