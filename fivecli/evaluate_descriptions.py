"""``five describe-reports evaluate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fivecli.options import Config, Json
from fivecli.screen import show_table
from pipelines.core.settings import EvaluateDescriptionsSettings as Defaults

if TYPE_CHECKING:
    from pipelines.core.metrics.metric import Metric
    from pipelines.evaluate_descriptions import DescriptionsEvaluation


def command(
    descriptions: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, help="Folder of five describe-reports.")
    ] = Path("descriptions"),
    *,
    gold: Annotated[
        Path,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Table (CSV, Parquet, JSONL) of reference answers: report_id or patient_id, and a column a question.",
        ),
    ],
    column_prefix: Annotated[
        str, typer.Option(help="What stands before the question ids in the column names.")
    ] = Defaults.column_prefix,
    resamples: Annotated[
        int, typer.Option(help="Bootstrap resamples of the patients; 0 for no intervals.", min=0)
    ] = Defaults.resamples,
    seed: Annotated[int, typer.Option(help="Seed of the resampling.")] = Defaults.seed,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", dir_okay=False, help="Also write the figures to a .csv or .parquet."),
    ] = None,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Compare descriptions with reference answers: accuracy, macro F1, kappa and confusion by question.

    Example: five describe-reports evaluate descriptions --gold gold.csv
    """
    from pipelines.evaluate_descriptions import EvaluateDescriptionsInputs, evaluate_descriptions, write_metrics

    found = evaluate_descriptions(
        EvaluateDescriptionsInputs(descriptions, gold), Defaults(column_prefix, resamples, seed)
    )
    if output is not None:
        write_metrics(found, output)
    if as_json:
        from dataclasses import asdict

        typer.echo(json.dumps(asdict(found)))
        return
    _show(found)


def _show(found: DescriptionsEvaluation) -> None:
    rows = [
        (
            one.question,
            str(one.n),
            _metric(one.accuracy),
            _metric(one.macro_f1),
            _metric(one.kappa),
            f"{one.majority:.3f}",
            f"{one.unknown_in_reference:.0%} / {one.unknown_given:.0%}",
        )
        for one in found.questions
    ]
    rows.append(("mean", "", f"{found.mean_accuracy:.3f}", f"{found.mean_macro_f1:.3f}", "", "", ""))
    header = ("question", "n", "accuracy", "macro F1", "kappa", "majority", "unknown: gold / given")
    show_table("Agreement with the reference (95 % intervals)", header, rows)
    for one in found.questions:
        counts = [(name, *row) for name, row in zip(one.categories, one.confusion, strict=True)]
        show_table(one.question, ("reference / given", *one.categories), counts)
    if found.not_described:
        typer.echo(f"not counted: {found.not_described} rows of the reference without answers in the descriptions")
    if found.not_judged:
        typer.echo(f"without a reference answer: {', '.join(found.not_judged)}")


def _metric(metric: Metric) -> str:
    if metric.value is None:
        return "-"
    return f"{metric.value:.3f}" + ("" if metric.low is None else f" ({metric.low:.2f}-{metric.high:.2f})")
