"""Terminal output: errors, progress and summaries. Messages go to stderr, results to stdout."""

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
"""Exit code if the batch finished but some items failed."""
MAX_ENTRIES_SHOWN = 10
"""Maximum number of entries printed for a fact that has one value per item."""


def show_error(error: FiveError) -> None:
    """Print the message and the hint of an error."""
    typer.secho(f"error: {error.message}", fg="red", err=True)
    if error.hint:
        typer.echo(f"hint: {error.hint}", err=True)


@contextmanager
def progress(what: str, unit: str = "slides") -> Iterator[OnResult]:
    """Yield a function to call after each item: it moves a bar on a terminal, and prints a line every 10 s in a log."""
    try:
        yield from _bar(what, unit) if sys.stderr.isatty() else _lines(what, unit)
    except KeyboardInterrupt:
        typer.echo(f"{what}: interrupted; run the same command again to resume", err=True)
        raise


class _Pace:
    """Speed of the batch. Items kept from an earlier run come first and are not counted."""

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
        """Items per second; 0 as long as all items were kept."""
        return self._made / max(self.now - self._started, 1e-9)

    def text(self, unit: str, total: int | None) -> str:
        """Return the rate and the time left for a log line; empty as long as all items were kept."""
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
                f"{what}: {pace.done}/{result.total or '?'} {unit}{pace.text(unit, result.total)}{note}", err=True
            )

    yield advance


def finish(summary: Summary, *, unit: str = "slides", as_json: bool = False) -> None:
    """Print the summary of a stage; exit with code 3 if items failed."""
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
            f"{n_failed} of {len(summary.results)} {unit} failed: see column error in the tables of {summary.output}; "
            "run the same command again to retry them",
            fg="red",
            err=True,
        )
        raise typer.Exit(FAILED_ITEMS)


def _show_fact(name: str, value: Any) -> None:
    """Print a fact on one line; if it has one value per item, print the first items on a line each."""
    words = name.replace("_", " ")
    if not isinstance(value, Mapping):
        typer.echo(f"  {words}: {value}")
        return
    typer.echo(f"  {words}:")
    for item, item_value in list(value.items())[:MAX_ENTRIES_SHOWN]:
        typer.echo(f"    {item}: {item_value}")
    if len(value) > MAX_ENTRIES_SHOWN:
        typer.echo(f"    and {len(value) - MAX_ENTRIES_SHOWN} more, see the tables")


def _as_json(summary: Summary) -> dict[str, Any]:
    return {
        "output": str(summary.output),
        "counts": summary.counts,
        **summary.facts,
        "failures": [{"id": result.item_id, "error": result.error} for result in summary.failures],
    }


def show_facts(facts: Mapping[str, Any], *, as_json: bool = False) -> None:
    """Print facts on stdout, one per line or as JSON."""
    if as_json:
        typer.echo(json.dumps(facts))
        return
    for name, value in facts.items():
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
