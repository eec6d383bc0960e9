"""``five evaluate-descriptions``: descriptions and reference answers -> agreement per question."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fivecli.options import Config, Json
from fivecli.screen import show_table
from fivecli.settings_options import with_settings
from pipelines.core.settings import EvaluateDescriptionsSettings

if TYPE_CHECKING:
    from pipelines.core.metrics.agreement import Figure
    from pipelines.evaluate_descriptions import DescriptionsEvaluation


@with_settings
def command(
    descriptions: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, help="Folder written by `five describe-reports`.")
    ] = Path("descriptions"),
    *,
    gold: Annotated[
        Path,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Table of reference answers (CSV, Parquet, JSONL) with a column report_id or patient_id and one "
            "column per question.",
        ),
    ],
    settings: EvaluateDescriptionsSettings,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", dir_okay=False, help="Table (.csv or .parquet) where the metrics are also written."
        ),
    ] = None,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Compare descriptions with reference answers: accuracy, macro F1, kappa and confusion matrix per question.

    Example: five evaluate-descriptions descriptions --gold gold.csv
    """
    from pipelines.evaluate_descriptions import EvaluateDescriptionsInputs, evaluate_descriptions, write_figures

    found = evaluate_descriptions(EvaluateDescriptionsInputs(descriptions, gold), settings)
    if output is not None:
        write_figures(found, output)
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
            _figure(one.accuracy),
            _figure(one.macro_f1),
            _figure(one.kappa),
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


def _figure(figure: Figure) -> str:
    if figure.value is None:
        return "-"
    return f"{figure.value:.3f}" + ("" if figure.low is None else f" ({figure.low:.2f}-{figure.high:.2f})")
