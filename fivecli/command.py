"""How every command reads its options and shows its help."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from typer.core import TyperCommand, TyperGroup

from fivecli.other_names import explain_unknown
from pipelines.core.errors import SettingsError

META = ("help", "version", "install_completion", "show_completion", "list_encoders")
"""Options that print something and exit. They are never read from the environment."""
MOVED: Mapping[tuple[str, str], str] = {("describe-reports", "evaluate"): "evaluate-descriptions"}
"""Former subcommands: (command, first argument) -> the command that replaces it."""


class Group(TyperGroup):
    """A command with subcommands."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the options, with `META` closed to the environment."""
        return _without_environment(super().get_params(ctx))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Show the help page."""
        _make_compact(self.get_params(ctx), ctx)
        super().format_help(ctx, formatter)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the options before the subcommand; explain an option that belongs elsewhere."""
        _refuse_unknown(self, ctx, list(takewhile(lambda argument: argument.startswith("-"), args)))
        return super().parse_args(ctx, args)


class Command(TyperCommand):
    """A command that knows the options of other tools and of the other commands."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the arguments and options, with `META` closed to the environment."""
        return _without_environment(super().get_params(ctx))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Show the help page."""
        _make_compact(self.get_params(ctx), ctx)
        super().format_help(ctx, formatter)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments; explain an option of another tool or another command."""
        if args and not Path(args[0]).exists():
            self._refuse_moved(args[0])
        _refuse_unknown(self, ctx, args)
        return super().parse_args(ctx, args)

    def _refuse_moved(self, argument: str) -> None:
        if moved := MOVED.get((str(self.name), argument)):
            raise SettingsError(
                f"five {self.name} {argument}: there is no file or folder '{argument}'",
                hint=f"the command to compare descriptions with reference answers is now: five {moved}",
            )


def _refuse_unknown(command: TyperCommand | TyperGroup, ctx: Any, args: Sequence[str]) -> None:
    """Fail with an explanation at the first option that the command does not have.

    Click would suggest the option that is spelled most similarly, such as --batch-size for --patch-size. Spelling
    mistakes are left to it.
    """
    known = {name for parameter in command.get_params(ctx) for name in (*parameter.opts, *parameter.secondary_opts)}
    for argument in args:
        name = argument.partition("=")[0]
        if name == "--":
            return
        if not name.startswith("--") or name in known:
            continue
        commands_by_option = ctx.find_root().obj  # slow, so it is only called here
        commands = commands_by_option() if commands_by_option else {}
        if explanation := explain_unknown(name, {option.removeprefix("--") for option in known}, commands):
            ctx.fail(explanation)


def _without_environment(parameters: list[Any]) -> list[Any]:
    for parameter in parameters:
        if parameter.name in META:
            parameter.allow_from_autoenv = False
    return parameters


def _make_compact(parameters: list[Any], ctx: Any) -> None:
    """Remove redundant details from the help page."""
    for option in parameters:
        option.show_envvar = False  # explained once, in the help of ``five``
        if option.param_type_name != "option":
            continue
        if option.is_flag:
            is_on = bool(option.default and option.secondary_opts)
            option.metavar = f"or {option.secondary_opts[0]}" if is_on else ""
            option.secondary_opts = []
        elif option.metavar is None and hasattr(option, "display_type_rich"):
            option.metavar = option.display_type_rich(ctx=ctx).replace(" range", "")  # the range itself is shown
