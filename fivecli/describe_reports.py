"""``five describe-reports``: pathology reports -> fine-grained descriptions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from fivecli.options import EXECUTION, Config, DryRun, Json, OnlyFailed, Overwrite, Part
from fivecli.screen import finish, progress, show_facts, show_table
from fivecli.settings_options import with_settings
from pipelines.core.resources import DescribeReportsResources
from pipelines.core.settings import DescribeReportsSettings


@with_settings
def command(
    reports: Annotated[
        Path,
        typer.Argument(
            exists=True,
            help="Table of reports (CSV, Parquet, JSON, .xlsx) with columns report_id, patient_id and text, a document "
            "(.txt, .pdf, .docx, .rtf), or a folder of both.",
        ),
    ],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder where the descriptions are written.")],
    settings: DescribeReportsSettings,
    html: Annotated[
        bool,
        typer.Option(
            "--html", help="Also write report.html, which shows reports with quotes and answers. It is confidential."
        ),
    ] = False,
    cohort: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            help="Cohort table (CSV, Parquet); only reports of its patients are described.",
            rich_help_panel=EXECUTION,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(help="Describe only the first N reports, to try settings.", min=1, rich_help_panel=EXECUTION),
    ] = None,
    shard: Part = "1/1",
    only_failed: OnlyFailed = False,
    dry_run: DryRun = False,
    price_in: Annotated[
        float,
        typer.Option(
            help="Price per million prompt tokens, for the estimate of --dry-run.", min=0, rich_help_panel=EXECUTION
        ),
    ] = 0.0,
    price_out: Annotated[
        float,
        typer.Option(
            help="Price per million output tokens, for the estimate of --dry-run.", min=0, rich_help_panel=EXECUTION
        ),
    ] = 0.0,
    resources: DescribeReportsResources,
    overwrite: Overwrite = False,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Answer a set of questions about every pathology report; each answer quotes the report as evidence.

    Example: five describe-reports reports.csv -o descriptions --questions lung --backend rules
    """
    from pipelines.core.selection import Selection, Shard
    from pipelines.describe_reports import DescribeReportsInputs, describe_reports, plan
    from pipelines.reports.estimate import Prices

    inputs = DescribeReportsInputs(reports)
    selection = Selection(cohort, only_failed, Shard.parse(shard), limit, overwrite)
    if dry_run:
        prices = Prices(price_in, price_out)
        show_facts(plan(inputs, output, settings, selection=selection, prices=prices), as_json=as_json)
        return
    with progress("describe", unit="reports") as on_result:
        summary = describe_reports(
            inputs,
            output,
            settings,
            selection=selection,
            resources=resources,
            html=html,
            on_result=on_result,
        )
    if not as_json:
        facts = dict(summary.facts)
        _show_questions(facts.pop("questions"))
        summary = replace(summary, facts={name: value for name, value in facts.items() if value})
    finish(summary, unit="reports", as_json=as_json)


def _show_questions(rates: dict[str, dict[str, Any]]) -> None:
    if any(rate["unknown_rate"] is None for rate in rates.values()):
        return  # no report was described
    header = ["question", "unknown", "no proof", "parts disagree", "agreement of samples"]
    rows = [
        (
            name,
            *(f"{rate[key]:.0%}" for key in ("unknown_rate", "ungrounded_rate", "conflict_rate")),
            rate["agreement"],
        )
        for name, rate in rates.items()
    ]
    if all(row[-1] is None for row in rows):
        header, rows = header[:-1], [row[:-1] for row in rows]
    show_table("Answers by question", header, rows)
