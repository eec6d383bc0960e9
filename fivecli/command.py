"""How every command reads its options and shows its help."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from typer.core import TyperCommand, TyperGroup

from fivecli.other_names import NOTES, is_other_name, our_name
from pipelines.core.errors import SettingsError

META = ("help", "version", "install_completion", "show_completion", "list_encoders")
"""Options that print something and exit. They are never read from the environment."""
MOVED: Mapping[tuple[str, str], str] = {("describe-reports", "evaluate"): "evaluate-descriptions"}
"""Former subcommands: (command, first argument) -> the command that replaces it."""


def without_environment(parameters: list[Any]) -> list[Any]:
    """Return the parameters after making sure that no environment variable sets one of `META`."""
    for parameter in parameters:
        if parameter.name in META:
            parameter.allow_from_autoenv = False
    return parameters


class Group(TyperGroup):
    """A command with subcommands."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the options, with `META` closed to the environment."""
        return without_environment(super().get_params(ctx))


class Command(TyperCommand):
    """A command that knows the option names of other tools and has a compact help page."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the arguments and options, with `META` closed to the environment."""
        return without_environment(super().get_params(ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments; suggest our option for one of another tool."""
        moved = MOVED.get((str(self.name), args[0])) if args else None
        if moved and not Path(args[0]).exists():
            raise SettingsError(
                f"five {self.name} {args[0]}: there is no folder or file '{args[0]}'",
                hint=f"to compare descriptions with reference answers, use: five {moved}",
            )
        self._refuse_other_names(ctx, args)
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Show the help page; environment variables are explained once, in the help of ``five``."""
        for parameter in self.get_params(ctx):
            parameter.show_envvar = False
            display_type = getattr(parameter, "display_type_rich", None)
            if display_type and parameter.metavar is None:
                parameter.metavar = display_type(ctx=ctx).replace(" range", "")  # the range is shown beside it
            if getattr(parameter, "is_flag", False):
                _show_as_flag(parameter)
        super().format_help(ctx, formatter)

    def _refuse_other_names(self, ctx: Any, args: list[str]) -> None:
        known = {
            option for parameter in self.get_params(ctx) for option in (*parameter.opts, *parameter.secondary_opts)
        }
        names = {option.removeprefix("--") for option in known if option.startswith("--")}
        for argument in args:
            name = argument.partition("=")[0]
            if argument == "--":
                return
            if not name.startswith("--") or name in known:
                continue
            if ours := our_name(name, names):
                note = f" ({NOTES[ours]})" if ours in NOTES else ""
                ctx.fail(f"No such option: {name}. Did you mean --{ours}{note}?")
            if is_other_name(name):
                ctx.fail(f"No such option: {name}")


def _show_as_flag(option: Any) -> None:
    """Leave out the type of a flag; show its ``--no-`` form where it matters, beside the name."""
    on_by_default = option.default and option.secondary_opts
    option.metavar = f"or {option.secondary_opts[0]}" if on_by_default else ""
    option.secondary_opts = []
