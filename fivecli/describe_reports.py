"""``five describe-reports``: pathology reports -> fine-grained descriptions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from fivecli.options import CohortTable, Config, Device, Json, Overwrite
from fivecli.screen import finish, progress, show_figures, show_table
from pipelines.core.settings import DescribeReportsSettings as Defaults


def command(
    reports: Annotated[
        Path, typer.Argument(exists=True, help="CSV, Parquet or JSONL with report_id, patient_id, text; or .txt files.")
    ],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of descriptions to write.")],
    questions: Annotated[str, typer.Option(help="Question set: a shipped name, or a YAML file.")] = Defaults.questions,
    backend: Annotated[
        Literal["rules", "local", "openai", "vllm"],
        typer.Option(help="What answers. Only openai sends reports away, to --base-url."),
    ] = Defaults.backend,  # type: ignore[assignment]
    model: Annotated[str, typer.Option(help="Language model: name, or folder for local and vllm.")] = Defaults.model,
    base_url: Annotated[
        str | None, typer.Option(help="Server of backend openai, for example http://127.0.0.1:8000/v1.")
    ] = None,
    ungrounded: Annotated[
        Literal["keep", "unknown", "fail"], typer.Option(help="Answers whose quote is not in the report.")
    ] = Defaults.ungrounded,  # type: ignore[assignment]
    max_tokens: Annotated[int, typer.Option(help="Most tokens of a reply.", min=1)] = Defaults.max_tokens,
    temperature: Annotated[float, typer.Option(help="0 takes the likeliest token.", min=0)] = Defaults.temperature,
    seed: Annotated[int, typer.Option(help="Seed where the model samples.")] = Defaults.seed,
    cohort: CohortTable = None,
    limit: Annotated[int | None, typer.Option(help="Describe only the first so many reports.", min=1)] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count reports and tokens, ask nothing.")] = False,
    workers: Annotated[int, typer.Option(help="Requests on their way at a time.", min=1)] = 8,
    device: Device = "auto",
    overwrite: Overwrite = False,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Answer a set of questions about every pathology report, each answer with a quote that proves it.

    Example: five describe-reports reports.csv -o descriptions --questions lung --backend rules
    """
    from pipelines.describe_reports import describe_reports, plan

    settings = Defaults(questions, backend, model, ungrounded, max_tokens, temperature, seed)
    if dry_run:
        show_figures(plan(reports, settings, cohort=cohort, limit=limit), as_json=as_json)
        return
    with progress("describe", unit="reports") as on_result:
        summary = describe_reports(
            reports,
            output,
            settings,
            cohort=cohort,
            limit=limit,
            base_url=base_url,
            workers=workers,
            device=device,
            overwrite=overwrite,
            on_result=on_result,
        )
    if not as_json:
        figures = dict(summary.figures)
        _show_questions(figures.pop("questions"))
        summary = replace(summary, figures=figures)
    finish(summary, unit="reports", as_json=as_json)


def _show_questions(rates: dict[str, dict[str, Any]]) -> None:
    rows = [(name, f"{rate['unknown_rate']:.0%}", f"{rate['ungrounded_rate']:.0%}") for name, rate in rates.items()]
    show_table("Answers by question", ("question", "unknown", "quote not found"), rows)
