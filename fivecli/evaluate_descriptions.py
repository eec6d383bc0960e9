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
    from pipelines.core.metrics.metric import Metric
    from pipelines.evaluate_descriptions import DescriptionsEvaluation


@with_settings
def command(
    descriptions: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, help="Folder written by `five describe-reports`.")
    ] = Path("descriptions"),
    *,
    gold: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Table of reference answers (CSV, Parquet, JSON, .xlsx) with a column report_id or patient_id and one "
            "column per question.",
        ),
    ] = None,
    other: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="Second folder written by `five describe-reports`, in place of --gold: how far two backends or models "
            "agree.",
        ),
    ] = None,
    settings: EvaluateDescriptionsSettings,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            dir_okay=False,
            help="Table (.csv or .parquet) where the metrics are also written, with NAME.answers.csv for answers.",
        ),
    ] = None,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Compare descriptions with reference answers or other descriptions, per question and per answer.

    Example: five evaluate-descriptions descriptions --gold gold.csv
    """
    from pipelines.evaluate_descriptions import EvaluateDescriptionsInputs, evaluate_descriptions, write_metrics

    evaluation = evaluate_descriptions(EvaluateDescriptionsInputs(descriptions, gold, other), settings)
    if output is not None:
        write_metrics(evaluation, output)
    if as_json:
        from dataclasses import asdict

        typer.echo(json.dumps(asdict(evaluation)))
        return
    _show(evaluation, "the other folder" if other else "the reference")


def _show(evaluation: DescriptionsEvaluation, reference: str) -> None:
    rows = [
        (
            agreement.question,
            str(agreement.n),
            _value_and_interval(agreement.accuracy),
            _value_and_interval(agreement.macro_f1),
            _value_and_interval(agreement.kappa),
            f"{agreement.majority:.3f}",
            f"{agreement.unknown_in_reference:.0%} / {agreement.unknown_given:.0%}",
        )
        for agreement in evaluation.questions
    ]
    rows.append(("mean", "", f"{evaluation.mean_accuracy:.3f}", f"{evaluation.mean_macro_f1:.3f}", "", "", ""))
    header = ("question", "n", "accuracy", "macro F1", "kappa", "majority", "unknown: reference / given")
    show_table(f"Agreement with {reference} (95 % intervals)", header, rows)
    _show_answers(evaluation)
    for agreement in evaluation.questions:
        counts = [(name, *row) for name, row in zip(agreement.categories, agreement.confusion, strict=True)]
        show_table(agreement.question, ("reference / given", *agreement.categories), counts)
    if evaluation.not_described:
        typer.echo(f"not counted: {evaluation.not_described} of the reference without answers in the descriptions")
    if evaluation.not_judged:
        typer.echo(f"without a reference answer: {', '.join(evaluation.not_judged)}")


def _show_answers(evaluation: DescriptionsEvaluation) -> None:
    """Show precision and recall of each answer, rare ones first: they decide treatment, and averages hide them."""
    answers = [(one.question, answer) for one in evaluation.questions for answer in one.answers]
    rows = [
        (
            question,
            answer.answer,
            str(answer.n_reference),
            str(answer.n_given),
            _value_and_interval(answer.precision),
            _value_and_interval(answer.recall),
        )
        for question, answer in sorted(answers, key=lambda pair: pair[1].n_reference)
    ]
    header = ("question", "answer", "in reference", "given", "precision", "recall")
    show_table("Answers, rare ones first (95 % intervals)", header, rows)


def _value_and_interval(metric: Metric) -> str:
    if metric.value is None:
        return "-"
    return f"{metric.value:.3f}" + ("" if metric.low is None else f" ({metric.low:.2f}-{metric.high:.2f})")
