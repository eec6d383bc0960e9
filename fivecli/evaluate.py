"""``five evaluate``: predictions and labels -> metrics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fivecli.options import Config, Json
from fivecli.screen import show_table
from fivecli.settings_options import with_settings
from pipelines.core.settings import EvaluateSettings

if TYPE_CHECKING:
    from pipelines.evaluate import Evaluation, Measured


@with_settings
def command(
    predictions: Annotated[
        list[Path],
        typer.Argument(
            exists=True, help="Folder written by `five predict`; several for the folds of a cross-validation."
        ),
    ],
    *,
    settings: EvaluateSettings,
    cohort: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Table with labels to use instead of the recorded ones."),
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Also list every evaluated prediction.")] = False,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Compute metrics of predictions on slides that the run was not trained on.

    Folds of a cross-validation are pooled, because each slide is tested in one of them.
    Several runs that test the same slides give a mean and a standard deviation.

    Example: five evaluate predictions/fold-* --level patient
    """
    from pipelines.evaluate import EvaluateInputs, evaluate

    evaluation = evaluate(EvaluateInputs(predictions, cohort), settings)
    if as_json:
        typer.echo(json.dumps(_as_json(evaluation, with_rows=show)))
        return
    if show:
        _show_rows(evaluation)
    show_evaluation(evaluation)


def show_evaluation(evaluation: Evaluation) -> None:
    """Print the metrics of all runs together and of each run, and how many predictions were left out."""
    if evaluation.pooled:
        _show_metrics(evaluation.pooled, evaluation)
        _show_confusion(evaluation.pooled, evaluation.classes)
    if len(evaluation.runs) > 1:
        _show_runs(evaluation)
    for name, value in evaluation.facts.items():
        typer.echo(f"{name.replace('_', ' ')}: {value}")
    for reason, n in evaluation.left_out.items():
        typer.echo(f"not counted: {n} {reason}")


def _show_metrics(measured: Measured, evaluation: Evaluation) -> None:
    unit = f"{evaluation.settings['level']}s"
    of = f" of {measured.n_patients} patients" if unit == "slides" else ""
    rows = [
        (metric.name.replace("_", " "), _number(metric.value), _interval(metric.low, metric.high), metric.note)
        for metric in measured.metrics
    ]
    header = ("metric", "value", "95 % interval", "note")
    shown = len(header) if any(metric.note for metric in measured.metrics) else len(header) - 1
    title = f"{measured.n} {unit}{of}, split {evaluation.settings['split']}: {measured.name}"
    show_table(title, header[:shown], [row[:shown] for row in rows])


def _show_confusion(measured: Measured, classes: tuple[str, ...]) -> None:
    rows = [(label, *counts) for label, counts in zip(classes, measured.confusion, strict=True)]
    show_table("confusion", ("label / predicted", *classes), rows)


def _show_runs(evaluation: Evaluation) -> None:
    names = [metric.name for metric in evaluation.runs[0].metrics]
    rows: list[tuple[Any, ...]] = [
        (run.name, run.n, *(_number(metric.value) for metric in run.metrics)) for run in evaluation.runs
    ]
    spread = {metric.name: metric for metric in evaluation.spread}
    for word, part in (("mean", "mean"), ("standard deviation", "sd")):
        values = [_number(getattr(spread[name], part)) if name in spread else _number(None) for name in names]
        rows.append((f"{word} over runs", "", *values))
    title = f"{len(evaluation.runs)} runs"
    if evaluation.pooled is None:
        title += f" that test some {evaluation.settings['level']}s more than once, so they are not pooled"
    show_table(title, ("run", evaluation.settings["level"] + "s", *(name.replace("_", " ") for name in names)), rows)


def _show_rows(evaluation: Evaluation) -> None:
    several = len(evaluation.runs) > 1
    header = (evaluation.settings["level"], "label", "predicted", *(f"p({c})" for c in evaluation.classes))
    rows = [
        (row["item"], row["label"], row["predicted"], *(row[f"prob_{c}"] for c in evaluation.classes))
        + ((row["run"],) if several else ())
        for row in evaluation.rows
    ]
    show_table("predictions counted", header + (("run",) if several else ()), rows)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _interval(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None else f"{low:.3f} to {high:.3f}"


def _as_json(evaluation: Evaluation, *, with_rows: bool) -> dict[str, Any]:
    from dataclasses import asdict

    plain = asdict(evaluation)
    if not with_rows:
        del plain["rows"]
    return plain
