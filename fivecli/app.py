"""The ``five`` command: one subcommand a stage, and the one place where errors become sentences."""

from __future__ import annotations

import copy
import logging
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from fivecli import demo, describe_reports, embed, evaluate, inspect, predict, questions, tile, train
from fivecli.screen import show_error
from pipelines.core.errors import FiveError


class Commands(TyperGroup):
    """The subcommands; the epilog names the environment variables once instead of under every option."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a subcommand whose help does not repeat its environment variables."""
        command = super().get_command(ctx, cmd_name)
        for parameter in getattr(command, "params", ()):
            parameter.show_envvar = False
        return command


app = typer.Typer(
    name="five",
    cls=Commands,
    help="Classify whole-slide images with language: slides and reports in, predictions out.",
    epilog="Order: tile, embed, describe-reports, train, predict, evaluate. To try them: five demo cohort --help. "
    "Any option can also come from the environment (FIVE_TILE_TARGET_MPP for `five tile --target-mpp`) or from "
    "a YAML file (--config); a flag wins over both.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "FIVE"},
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=True,
)
app.command("tile")(tile.command)
app.command("embed")(embed.command)
app.command("describe-reports", cls=describe_reports.WithEvaluate, epilog=describe_reports.EPILOG)(
    describe_reports.command
)
app.command("train")(train.command)
app.command("predict")(predict.command)
app.command("evaluate")(evaluate.command)
app.command("inspect")(inspect.command)
app.add_typer(questions.app, name="questions")
app.add_typer(demo.app, name="demo")


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - Typer's callback signature
    if wanted:
        from pipelines import __version__

        typer.echo(f"five-wsi {__version__}")
        raise typer.Exit


@app.callback()
def root(
    *,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version.")
    ] = False,
) -> None:
    """Classify whole-slide images with language: slides and reports in, predictions out."""
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # of damaged files it says what we say in one sentence
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")


def _with_one_command(name: list[str]) -> typer.Typer:
    """Return the app with no other command than the one called; building them all takes longer than importing them."""
    one = copy.copy(app)
    one.registered_commands = [command for command in app.registered_commands if [command.name] == name]
    one.registered_groups = []
    return one if one.registered_commands else app


def main() -> None:
    """Run the app; show a `FiveError` as a sentence and a hint, exit code 1."""
    # Threads of torch that wait spin on a core by default, which takes it from whoever shares the machine:
    # several times slower as soon as more threads than cores are busy. Read when torch is first imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        _with_one_command(sys.argv[1:2])()
    except FiveError as error:
        show_error(error)
        sys.exit(1)
