"""Help pages: every option is explained, and nothing is cut."""

import re

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from fivecli.app import app
from pipelines.core.settings import TrainSettings, field_rules
from pipelines.core.settings.train import TEXT_RATE
from pipelines.core.settings.train_presets import TRAIN_PRESETS

WIDTH = 100
runner = CliRunner()


def all_commands(command, path=()):
    yield path, command
    for name, subcommand in getattr(command, "commands", {}).items():
        yield from all_commands(subcommand, (*path, name))


COMMANDS = dict(all_commands(get_command(app)))


@pytest.fixture(params=COMMANDS, ids=" ".join)
def path(request):
    return request.param


def shown(path, width=WIDTH):
    """Return the help page as one line of words, without borders."""
    output = runner.invoke(app, [*path, "--help"], env={"COLUMNS": str(width), "TERMINAL_WIDTH": str(width)}).output
    return re.sub(r"[\s│╭╮╰╯─]+", " ", output)


def test_every_option_is_explained_in_sentences(path):
    for parameter in COMMANDS[path].params:
        assert parameter.help, parameter.name
        assert parameter.help[0].isupper(), parameter.name
        assert parameter.help.endswith("."), parameter.name


def test_a_shown_default_is_not_repeated_in_the_text(path):
    for parameter in COMMANDS[path].params:
        assert not re.search(r"\bdefault( is|s to|:|\))", parameter.help, re.IGNORECASE), parameter.name


def test_no_option_is_cut(path):
    assert "…" not in runner.invoke(app, [*path, "--help"], env={"COLUMNS": str(WIDTH)}).output


def test_no_text_is_lost_as_markup(path):
    page = shown(path, width=400)
    for parameter in COMMANDS[path].params:
        assert " ".join(parameter.help.replace("\\[", "[").split()) in page, parameter.name


def test_choices_are_on_the_page():
    page = shown(("train",))
    for rules in field_rules(TrainSettings):
        assert all(re.search(rf"(?<![\w-]){re.escape(choice)}(?![\w-])", page) for choice in rules.choices), rules.name


def test_the_default_rate_of_the_text_side_is_shown():
    assert f"If not set, {TEXT_RATE:g}, or 0 when" in shown(("train",), width=400)


def test_options_for_the_released_preset_have_a_panel():
    rules = [rules for rules in field_rules(TrainSettings) if rules.group == "Only for --preset released"]
    assert {"padding", "padded_length", "text_pooling", "context_length"} <= {field.name for field in rules}
    changed = {name for name in TRAIN_PRESETS["released"]}
    assert {field.name for field in rules} - changed == {"padded_length", "context_length"}  # their defaults fit
    page = shown(("train",))
    assert page.index("Only for --preset released") < page.index("--padding")


@pytest.mark.parametrize(
    ("command", "option", "limits"),
    [("train", "--percent", "0<x<=100"), ("train", "--val-fraction", "0<=x<1"), ("tile", "--target-mpp", "x>0")],
)
def test_limits_say_whether_their_ends_are_allowed(command, option, limits):
    assert f"{option} <float> [{limits}]" in shown((command,), width=400)
