"""The ``five`` command: its subcommands, and the one place where errors become messages."""

from __future__ import annotations

import copy
import errno
import io
import logging
import os
import sys
from functools import cache
from typing import Annotated, Any

import typer
import typer.main

from fivecli import (
    demo,
    describe_reports,
    embed,
    evaluate,
    evaluate_descriptions,
    inspect,
    predict,
    questions,
    tile,
    train,
)
from fivecli.command import Command, Group
from fivecli.screen import show_error
from pipelines.core.errors import FiveError

DISK_ERRORS = frozenset(
    getattr(errno, name)
    for name in ("EACCES", "EDQUOT", "EFBIG", "EIO", "ENAMETOOLONG", "ENOSPC", "EPERM", "EROFS", "ESTALE")
    if hasattr(errno, name)
)
"""Error numbers of a disk that is full, broken, or not accessible. Other operating system errors are our bugs."""


@cache
def commands_by_option() -> dict[str, list[str]]:
    """Return option without dashes -> the commands that have it. All commands are built, which is slow."""
    commands: dict[str, list[str]] = {}
    pending: list[tuple[str, Any]] = [("five", typer.main.get_command(app))]
    while pending:
        path, command = pending.pop(0)
        for parameter in command.params:
            for option in (*parameter.opts, *parameter.secondary_opts):
                if option.startswith("--"):
                    commands.setdefault(option.removeprefix("--"), []).append(path)
        pending += [(f"{path} {name}", subcommand) for name, subcommand in getattr(command, "commands", {}).items()]
    return commands


app = typer.Typer(
    name="five",
    cls=Group,
    help="Classify whole-slide images with language: from slides and reports to predictions.",
    epilog="Run the commands in this order: tile, embed, describe-reports, train, predict, evaluate. To try them on "
    "synthetic slides, start with: five demo cohort --help. "
    "Every option can also be set by an environment variable (FIVE_TILE_TARGET_MPP for five tile --target-mpp) or in "
    "a YAML file (--config). A flag wins over the environment, the environment over the file.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "FIVE", "obj": commands_by_option},
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=True,
)
app.command("tile", cls=Command)(tile.command)
app.command("embed", cls=Command)(embed.command)
app.command("describe-reports", cls=Command)(describe_reports.command)
app.command("evaluate-descriptions", cls=Command)(evaluate_descriptions.command)
app.command("train", cls=Command)(train.command)
app.command("predict", cls=Command)(predict.command)
app.command("evaluate", cls=Command)(evaluate.command)
app.command("inspect", cls=Command)(inspect.command)
app.add_typer(questions.app, name="questions")
app.add_typer(demo.app, name="demo")


def _show_version(*, wanted: bool) -> None:
    if wanted:
        from pipelines import __version__

        typer.echo(f"five-wsi {__version__}")
        raise typer.Exit


@app.callback()
def root(
    *,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version and exit.")
    ] = False,
) -> None:
    """Classify whole-slide images with language: from slides and reports to predictions."""
    # tifffile logs pages about damaged files; we report them in one line
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_WarningFormat())
    handler.addFilter(_Once())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


class _WarningFormat(logging.Formatter):
    """Our own warnings look like our errors; those of other libraries name the library."""

    def format(self, record: logging.LogRecord) -> str:
        is_ours = record.name.partition(".")[0] in ("fivecli", "pipelines")
        start = record.levelname.lower() if is_ours else f"{record.levelname} {record.name}"
        return f"{start}: {super().format(record)}"


class _Once(logging.Filter):
    """Lets each message through once per command, for example if a stage reads a table twice."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        is_new = record.getMessage() not in self._seen
        self._seen.add(record.getMessage())
        return is_new


def _with_one_command(name: list[str]) -> typer.Typer:
    """Return the app with only the command that is called: building all commands takes longer than importing them."""
    one = copy.copy(app)
    one.registered_commands = [command for command in app.registered_commands if [command.name] == name]
    one.registered_groups = []
    return one if one.registered_commands else app


def main() -> None:
    """Run the app; show a `FiveError` or a failure of the disk as a message and a hint, and exit with code 1."""
    # By default, waiting threads of torch spin and keep a core busy, which makes everything several times slower
    # once there are more busy threads than cores. The variable is read when torch is first imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names may hold bytes that are not UTF-8
    try:
        _with_one_command(sys.argv[1:2])()
    except FiveError as error:
        show_error(error)
        sys.exit(1)
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        show_error(_disk_error(error))
        sys.exit(1)


def _disk_error(error: OSError) -> FiveError:
    """Return the error to show for a failure of the disk that no stage has handled."""
    where = f"{error.filename}: " if error.filename else ""
    return FiveError(
        f"{where}{error.strerror}",
        hint="check the free space, the permissions and the health of the disk, then run the same command again",
    )
