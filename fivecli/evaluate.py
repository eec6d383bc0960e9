"""``five evaluate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fivecli.options import Config, Json
from fivecli.screen import show_table
from pipelines.core.settings import EvaluateSettings

if TYPE_CHECKING:
    from pipelines.evaluate import Evaluation, Measured


def command(
    predictions: Annotated[
        list[Path], typer.Argument(exists=True, help="Folders of five predict: one, or the runs of a cross-validation.")
    ],
    *,
    level: Annotated[
        Literal["slide", "patient"], typer.Option(help="Count each slide or each patient.")
    ] = EvaluateSettings.level,  # type: ignore[assignment]
    split: Annotated[
        Literal["test", "val", "train"], typer.Option(help="test takes in slides that the run has never seen.")
    ] = EvaluateSettings.split,  # type: ignore[assignment]
    cohort: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Table of labels, in place of the recorded ones.")
    ] = None,
    resamples: Annotated[
        int, typer.Option(min=0, help="Bootstrap resamples of the patients; 0 for no intervals.")
    ] = EvaluateSettings.resamples,
    seed: Annotated[int, typer.Option(help="Seed of the resampling.")] = EvaluateSettings.seed,
    show: Annotated[bool, typer.Option("--show", help="List every prediction that is counted.")] = False,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Measure predictions on slides that the run has not trained on.

    The folds of a cross-validation are pooled, since each slide is tested by one of them.
    Runs that test the same slides give a mean and a spread.

    Example: five evaluate predictions/fold-* --level patient
    """
    from pipelines.evaluate import EvaluateInputs, evaluate

    settings = EvaluateSettings(level=level, split=split, resamples=resamples, seed=seed)
    found = evaluate(EvaluateInputs(predictions, cohort), settings)
    if as_json:
        typer.echo(json.dumps(_as_json(found, with_rows=show)))
        return
    if show:
        _show_rows(found)
    show_evaluation(found)


def show_evaluation(found: Evaluation) -> None:
    """Print the figures of all runs together, of each run, and what was not counted."""
    if found.pooled:
        _show_facts(found.pooled, found)
        _show_confusion(found.pooled, found.classes)
    if len(found.runs) > 1:
        _show_runs(found)
    for reason, n in found.left_out.items():
        typer.echo(f"not counted: {n} {reason}")


def _show_facts(measured: Measured, found: Evaluation) -> None:
    unit = f"{found.settings['level']}s"
    of = f" of {measured.n_patients} patients" if unit == "slides" else ""
    rows = [
        (metric.name.replace("_", " "), _number(metric.value), _interval(metric.low, metric.high), metric.note)
        for metric in measured.metrics
    ]
    header = ("figure", "value", "95 % interval", "note")
    shown = len(header) if any(metric.note for metric in measured.metrics) else len(header) - 1
    title = f"{measured.n} {unit}{of}, split {found.settings['split']}: {measured.name}"
    show_table(title, header[:shown], [row[:shown] for row in rows])


def _show_confusion(measured: Measured, classes: tuple[str, ...]) -> None:
    rows = [(label, *counts) for label, counts in zip(classes, measured.confusion, strict=True)]
    show_table("confusion", ("label / predicted", *classes), rows)


def _show_runs(found: Evaluation) -> None:
    names = [metric.name for metric in found.runs[0].metrics]
    rows: list[tuple[Any, ...]] = [
        (run.name, run.n, *(_number(metric.value) for metric in run.metrics)) for run in found.runs
    ]
    spread = {figure.name: figure for figure in found.spread}
    for word, part in (("mean", "mean"), ("standard deviation", "sd")):
        values = [_number(getattr(spread[name], part)) if name in spread else _number(None) for name in names]
        rows.append((f"{word} over runs", "", *values))
    title = f"{len(found.runs)} runs"
    if found.pooled is None:
        title += f" that test some {found.settings['level']}s more than once, so they are not pooled"
    show_table(title, ("run", found.settings["level"] + "s", *(name.replace("_", " ") for name in names)), rows)


def _show_rows(found: Evaluation) -> None:
    several = len(found.runs) > 1
    header = (found.settings["level"], "label", "predicted", *(f"p({c})" for c in found.classes))
    rows = [
        (row["item"], row["label"], row["predicted"], *(row[f"prob_{c}"] for c in found.classes))
        + ((row["run"],) if several else ())
        for row in found.rows
    ]
    show_table("predictions counted", header + (("run",) if several else ()), rows)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _interval(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None else f"{low:.3f} to {high:.3f}"


def _as_json(found: Evaluation, *, with_rows: bool) -> dict[str, Any]:
    from dataclasses import asdict

    plain = asdict(found)
    if not with_rows:
        del plain["rows"]
    return plain
