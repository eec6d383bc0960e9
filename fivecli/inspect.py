"""``five inspect``: what a slide or an artifact contains."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fivecli.options import Json
from fivecli.screen import show_table

if TYPE_CHECKING:
    from pipelines.inspect import Contents


def command(
    path: Annotated[
        Path,
        typer.Argument(
            exists=True,
            help="Slide, table, feature file, attention file, tissue outlines, or a folder written by `five`.",
        ),
    ],
    *,
    as_json: Json = False,
) -> None:
    """Show what a slide or an artifact contains: geometry, settings, counts and failures.

    Label images, free text of slides and texts of reports are never shown.

    Example: five inspect tiles
    """
    from pipelines.inspect import inspect

    contents = inspect(path)
    if as_json:
        from dataclasses import asdict

        typer.echo(json.dumps(asdict(contents)))
        return
    _show(contents)


def _show(contents: Contents) -> None:
    typer.echo(f"{contents.what}: {contents.path}")
    _show_pairs(contents.facts)
    for by, rows in contents.counts.items():
        _show_counts(by, rows)
    for title, rows in contents.lists.items():
        _show_rows(title, rows)
    if contents.settings:
        typer.echo("settings")
        _show_pairs(contents.settings)


def _show_pairs(pairs: Mapping[str, Any]) -> None:
    width = max(map(len, pairs), default=0)
    for name, value in pairs.items():
        typer.echo(f"  {name.replace('_', ' '):{width}}  {_cell(name, value)}")


def _show_counts(by: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print counts by one value on one line, by two values as a grid, and by more values as a table."""
    if not rows or len(rows[0]) == 2:
        counted = ", ".join(f"{row['n']} {_cell(name, row[name])}" for row in rows for name in row if name != "n")
        typer.echo(f"{by}: {counted or 'nothing'}")
        return
    if len(rows[0]) > 3:
        _show_rows(by, rows)
        return
    down, across, _ = rows[0]
    columns = list(dict.fromkeys(row[across] for row in rows))
    grid: dict[Any, dict[Any, int]] = {}
    for row in rows:
        grid.setdefault(row[down], {})[row[across]] = row["n"]
    header = (f"{down} / {across}", *(_cell(across, column) for column in columns))
    typer.echo(by)
    show_table("", header, [(_cell(down, name), *(n.get(column, 0) for column in columns)) for name, n in grid.items()])


def _show_rows(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        return
    typer.echo(title.replace("_", " "))
    header = [name.replace("_", " ") for name in rows[0]]
    show_table("", header, [[_cell(name, value) for name, value in row.items()] for row in rows])


def _cell(name: str, value: Any) -> str:
    if value is None or value == "":
        return "none"
    if name.endswith("bytes"):
        from rich.filesize import decimal

        return decimal(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return (" x " if name == "shape" else ", ").join(map(str, value))
    return str(value)
