"""What people see: errors, progress, summaries. Progress and messages on stderr, results on stdout."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import typer

from pipelines.core.batch import OnResult, Outcome, Result, Summary
from pipelines.core.errors import FiveError

FAILED_ITEMS = 3
"""Exit code when the batch finished but some items failed."""
SHOWN = 10
"""Items of a figure that are printed."""


def show_error(error: FiveError) -> None:
    """Print an error as one sentence and a hint."""
    typer.secho(f"error: {error.message}", fg="red", err=True)
    if error.hint:
        typer.echo(f"hint: {error.hint}", err=True)


@contextmanager
def progress(what: str, unit: str = "slides") -> Iterator[OnResult]:
    """Yield a function to call after each item: a bar on a terminal, a line now and then in a log."""
    try:
        yield from _bar(what, unit) if sys.stderr.isatty() else _lines(what, unit)
    except KeyboardInterrupt:
        typer.echo(f"{what}: interrupted; the same command goes on from here", err=True)
        raise


class _Pace:
    """How fast items are done; those that an earlier run made come first and do not count."""

    def __init__(self) -> None:
        self.done = self._made = 0
        self._started = self.now = time.monotonic()

    def add(self, result: Result) -> None:
        self.done += 1
        self.now = time.monotonic()
        if self._made or result.outcome is not Outcome.KEPT:
            self._made += 1
        else:
            self._started = self.now

    @property
    def per_second(self) -> float:
        """Items a second, 0 while all were kept."""
        return self._made / max(self.now - self._started, 1e-9)

    def words(self, unit: str, total: int | None) -> str:
        """Return rate and time left for a line of a log, or an empty string."""
        if not self._made:
            return ""
        rate = f", {self.per_second:.2f} {unit}/s"
        if total is None or self.done >= total:
            return rate
        return f"{rate}, {timedelta(seconds=round((total - self.done) / self.per_second))} left"


def _bar(what: str, unit: str) -> Iterator[OnResult]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    rate, note = TextColumn("{task.fields[rate]}"), TextColumn("{task.fields[note]}")
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn(unit), rate, TimeRemainingColumn(), note)
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None, rate="", note="")
        pace = _Pace()

        def advance(result: Result) -> None:
            pace.add(result)
            rate = f"{pace.per_second:.2f} {unit}/s" if pace.per_second else ""
            bar.update(task, advance=1, total=result.total, rate=rate, note=result.note)
            if result.outcome is Outcome.FAILED:
                bar.console.print(f"failed: {result.error}", style="red", markup=False)

        yield advance


def _lines(what: str, unit: str, *, every: float = 10.0) -> Iterator[OnResult]:
    pace = _Pace()
    last = pace.now

    def advance(result: Result) -> None:
        nonlocal last
        pace.add(result)
        if result.outcome is Outcome.FAILED:
            typer.echo(f"failed: {result.error}", err=True)
        if pace.now - last >= every or pace.done == result.total:
            last = pace.now
            note = f"; {result.note}" if result.note else ""
            typer.echo(
                f"{what}: {pace.done}/{result.total or '?'} {unit}{pace.words(unit, result.total)}{note}", err=True
            )

    yield advance


def finish(summary: Summary, *, unit: str = "slides", as_json: bool = False) -> None:
    """Print what a stage did and leave with exit code 3 if items failed."""
    if as_json:
        typer.echo(json.dumps(_as_json(summary), default=str))
    else:
        counts = ", ".join(f"{n} {name}" for name, n in summary.counts.items() if n)
        typer.echo(f"{len(summary.results)} {unit}: {counts or 'nothing to do'}")
        for name, value in summary.facts.items():
            _show_fact(name, value)
        typer.echo(f"written to {summary.output}")
    if summary.failures:
        n_failed = len(summary.failures)
        typer.secho(
            f"{n_failed} of {len(summary.results)} {unit} failed: see `error` in the tables of {summary.output}; "
            "the same command tries them again",
            fg="red",
            err=True,
        )
        raise typer.Exit(FAILED_ITEMS)


def _show_fact(name: str, value: Any) -> None:
    """Print a figure as a line, figures by item as a line each, the first ones of many."""
    words = name.replace("_", " ")
    if not isinstance(value, Mapping):
        typer.echo(f"  {words}: {value}")
        return
    typer.echo(f"  {words}:")
    for item, said in list(value.items())[:SHOWN]:
        typer.echo(f"    {item}: {said}")
    if len(value) > SHOWN:
        typer.echo(f"    and {len(value) - SHOWN} more, see the tables")


def _as_json(summary: Summary) -> dict[str, Any]:
    return {
        "output": str(summary.output),
        "counts": summary.counts,
        **summary.facts,
        "failures": [{"id": result.item_id, "error": result.error} for result in summary.failures],
    }


def show_facts(figures: Mapping[str, Any], *, as_json: bool = False) -> None:
    """Print named figures on stdout, one a line or as JSON."""
    if as_json:
        typer.echo(json.dumps(figures))
        return
    for name, value in figures.items():
        typer.echo(f"{name.replace('_', ' ')}: {'not known' if value is None else value}")


def show_table(title: str, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table on stdout."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for name in header:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row))
    Console(width=None if sys.stdout.isatty() else 120, markup=False, emoji=False, highlight=False).print(table)
