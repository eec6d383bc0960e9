"""Flags and settings classes agree: same names, same defaults, same choices."""

from dataclasses import fields, replace
from inspect import signature
from typing import Literal, get_args, get_origin, get_type_hints

import pytest

from fivecli import demo, describe_reports, embed, evaluate, evaluate_descriptions, predict, tile, train
from pipelines.core import settings
from pipelines.core.errors import SettingsError

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
SEVERAL = {"encoder": lambda default: [default], "weights": lambda _: []}
"""Options of `five embed` that may be given several times, a settings object for each encoder."""


def choices(command):
    """Return name -> values of the options that take one of a few words."""
    types = {
        name: get_args(hint)[0] for name, hint in get_type_hints(command, include_extras=True).items() if get_args(hint)
    }
    return {name: get_args(kind) for name, kind in types.items() if get_origin(kind) is Literal}


@pytest.mark.parametrize(("command", "cls"), COMMANDS)
def test_every_setting_is_a_flag_with_the_default_of_its_class(command, cls):
    found = {name: parameter.default for name, parameter in signature(command).parameters.items()}
    for field in fields(cls):
        expected = field.default
        if command is embed.command and field.name in SEVERAL:
            expected = SEVERAL[field.name](expected)
        assert found[field.name] == expected, field.name


def refusal(cls, name, value):
    """Return why the settings class refuses the value; nothing where it takes it."""
    try:
        replace(cls(), **{name: value})
    except SettingsError as error:
        return error.message
    return ""


@pytest.mark.parametrize(("command", "cls"), COMMANDS)
def test_a_flag_offers_the_words_that_its_setting_takes(command, cls):
    names = {field.name for field in fields(cls)}
    for name, words in choices(command).items():
        if name in names:
            assert "not known" in refusal(cls, name, "nonsense")
            # a word may need another setting beside it, and is known all the same
            assert not [word for word in words if "not known" in refusal(cls, name, word)]
