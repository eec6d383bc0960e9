from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import pytest
import typer
from typer.testing import CliRunner

from fivecli.settings_options import field_help, with_settings
from pipelines.core.settings import Limits, Panel, Settings

runner = CliRunner()


@dataclass(frozen=True)
class BakingSettings(Settings):
    """Settings of an invented command."""

    group: ClassVar[str] = "Baking"

    oven: Literal["gas", "electric"] = "gas"
    """Kind of oven, ``gas`` or ``electric``."""
    fan_speed: Annotated[int, Limits(min=0, max=3), Panel("Only for electric ovens")] = 0
    """Speed of the fan from [slow] to [fast]; only used with ``oven=electric``.

    This paragraph is for readers of the code."""
    salt: Annotated[float | None, Limits(above=0, max=2)] = None
    """Amount of salt."""
    top: bool = False
    """Heat from above; see ``fan_speed``."""
    undocumented: int = 1


@pytest.fixture
def baked():
    """Return an app and the values its command was called with."""
    values: dict[str, Any] = {}
    app = typer.Typer(rich_markup_mode="rich")

    @app.command()
    @with_settings
    def bake(
        cake: str,
        *,
        settings: BakingSettings,
        undocumented: Annotated[int, typer.Option(help="Own option.")] = 5,
    ) -> None:
        values.update(cake=cake, settings=settings, undocumented=undocumented)

    return app, values


def test_options_become_settings(baked):
    app, values = baked
    result = runner.invoke(app, ["apple", "--oven", "electric", "--fan-speed", "2", "--top"])
    assert result.exit_code == 0, result.output
    assert values["settings"] == BakingSettings("electric", 2, top=True)
    assert runner.invoke(app, ["apple", "--salt", "2"]).exit_code == 0


def test_a_parameter_with_the_name_of_a_field_replaces_its_option(baked):
    app, values = baked
    runner.invoke(app, ["apple", "--undocumented", "7"])
    assert (values["undocumented"], values["settings"].undocumented) == (7, 1)


@pytest.mark.parametrize("arguments", [["--fan-speed", "4"], ["--oven", "wood"], ["--salt", "0"], ["--salt", "nan"]])
def test_limits_and_choices_are_checked(baked, arguments):
    assert runner.invoke(baked[0], ["apple", *arguments]).exit_code == 2


def test_help_texts_are_docstrings_with_flags_for_fields():
    assert field_help(BakingSettings, "top") == "Heat from above; see --fan-speed."
    assert field_help(BakingSettings, "fan_speed").endswith("only used with --oven electric.")
    assert field_help(BakingSettings, "undocumented") == ""


def test_square_brackets_are_shown_and_groups_are_panels(baked):
    shown = runner.invoke(baked[0], ["--help"], env={"COLUMNS": "200"}).output
    assert "from [slow] to [fast]" in shown
    assert shown.index("Baking") < shown.index("Only for electric ovens")
    assert "readers of the code" not in shown


def test_limits_are_shown(baked):
    shown = runner.invoke(baked[0], ["--help"], env={"COLUMNS": "200"}).output
    assert "[0<=x<=3]" in shown
    assert "<float> [0<x<=2]" in shown
