"""Options that several commands share, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.core.errors import SettingsError


def _load_config(context: typer.Context, path: Path | None) -> Path | None:
    """Make the values of a YAML file the defaults of this command; flags and FIVE_* win over them."""
    if path is None:
        return None
    from pipelines.core.yaml_file import read_yaml

    values = read_yaml(path, expected="'name: value' lines")
    values = {str(name).replace("-", "_"): value for name, value in values.items()}
    known = {parameter.name for parameter in context.command.params if parameter.name} - {"config"}
    for name in values:
        if name not in known:
            raise SettingsError(f"{path}: unknown setting '{name}'", hint=f"known: {', '.join(sorted(known))}")
    several = {parameter.name for parameter in context.command.params if getattr(parameter, "multiple", False)}
    lists = {name: [value] for name, value in values.items() if name in several and not isinstance(value, list)}
    context.default_map = {**(context.default_map or {}), **values, **lists}
    return path


Config = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        dir_okay=False,
        is_eager=True,
        callback=_load_config,
        help="YAML file of settings for this command.",
    ),
]
CohortTable = Annotated[
    Path | None, typer.Option("--cohort", exists=True, help="Cohort table (CSV, Parquet): work on its slides only.")
]
Part = Annotated[
    str, typer.Option("--shard", metavar="INDEX/COUNT", help="Do one part of so many only, for job arrays: 3/16.")
]
OnlyFailed = Annotated[bool, typer.Option("--only-failed", help="Do only what failed before.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Make anew what other settings made.")]
Workers = Annotated[int, typer.Option(help="Processes that work in parallel.", min=1)]
StageDir = Annotated[
    Path | None,
    typer.Option(file_okay=False, help="Local folder to copy slides on slow storage to, each before its turn."),
]
Ray = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Run on a Ray cluster: auto, host:port, ray://host:10001 or local."),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
Json = Annotated[bool, typer.Option("--json", help="Print the summary as JSON on stdout.")]
