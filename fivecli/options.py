"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fivecli.other_names import our_name
from pipelines.core.errors import SettingsError
from pipelines.core.resources import Resources

EXECUTION = Resources.group
"""Help panel of the options that change which items are processed, and where, but not the results."""


def _load_config(context: typer.Context, path: Path | None) -> Path | None:
    """Make the values of a YAML file the defaults of this command; flags and FIVE_* variables win over them."""
    if path is None:
        return None
    from pipelines.core.yaml_file import read_yaml

    values = read_yaml(path, expected="'name: value' lines")
    values = {str(name).replace("-", "_"): value for name, value in values.items()}
    known = {parameter.name for parameter in context.command.params if parameter.name} - {"config"}
    for name in values:
        if name not in known:
            raise SettingsError(f"{path}: unknown setting '{name}'", hint=_hint(name, known))
    several = {parameter.name for parameter in context.command.params if getattr(parameter, "multiple", False)}
    lists = {name: [value] for name, value in values.items() if name in several and not isinstance(value, list)}
    context.default_map = {**(context.default_map or {}), **values, **lists}
    return path


def _hint(name: str, known: set[str]) -> str:
    if ours := our_name(name, {option.replace("_", "-") for option in known}):
        return f"use {ours.replace('-', '_')}"
    return f"known: {', '.join(sorted(known))}"


Config = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        dir_okay=False,
        is_eager=True,
        callback=_load_config,
        help="YAML file with options of this command, one 'name: value' per line. Flags win over it.",
    ),
]
CohortTable = Annotated[
    Path | None,
    typer.Option(
        "--cohort",
        exists=True,
        help="Cohort table (CSV, Parquet); only its slides are processed.",
        rich_help_panel=EXECUTION,
    ),
]
Part = Annotated[
    str,
    typer.Option(
        "--shard",
        metavar="INDEX/COUNT",
        help="Process only shard INDEX of COUNT, for job arrays (for example 3/16).",
        rich_help_panel=EXECUTION,
    ),
]
OnlyFailed = Annotated[
    bool, typer.Option("--only-failed", help="Process only what failed in an earlier run.", rich_help_panel=EXECUTION)
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show what would be done, without doing it.", rich_help_panel=EXECUTION)
]
Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", help="Redo outputs that were made with other settings.", rich_help_panel=EXECUTION),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
