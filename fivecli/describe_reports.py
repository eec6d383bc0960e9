"""``five describe-reports``: pathology reports -> fine-grained descriptions."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperCommand
from typer.main import get_command

from fivecli import evaluate_descriptions
from fivecli.options import Config, Device, DryRun, Json, OnlyFailed, Overwrite, Part
from fivecli.screen import finish, progress, show_facts, show_table
from pipelines.core.settings import DescribeReportsSettings as Defaults


class WithEvaluate(TyperCommand):
    """A command with arguments of its own that also has one subcommand, ``evaluate``."""

    @cached_property
    def commands(self) -> dict[str, Any]:
        """The subcommands by name."""
        app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
        app.command("evaluate")(evaluate_descriptions.command)
        found = get_command(app)
        for parameter in found.params:
            parameter.show_envvar = False  # type: ignore[attr-defined]
        return {"evaluate": found}

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Hand the call to a subcommand where the first word names one."""
        if args and args[0] in self.commands:
            prefix = f"FIVE_DESCRIBE_REPORTS_{args[0].upper()}"
            return self.commands[args[0]].make_context(
                f"{info_name} {args[0]}", args[1:], parent=parent, auto_envvar_prefix=prefix, **extra
            )
        return super().make_context(info_name, args, parent=parent, **extra)


EPILOG = "Measure descriptions against reference answers: five describe-reports evaluate --help"


def command(
    reports: Annotated[
        Path, typer.Argument(exists=True, help="CSV, Parquet or JSONL with report_id, patient_id, text; or .txt files.")
    ],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of descriptions to write.")],
    questions: Annotated[
        str, typer.Option(help="Question set: a name (five questions list), or a YAML file.")
    ] = Defaults.questions,
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
    votes: Annotated[
        int, typer.Option(help="Samples of each report that vote; needs a --temperature.", min=1)
    ] = Defaults.votes,
    html: Annotated[
        bool, typer.Option("--html", help="Write report.html: text and quotes beside the answers. Confidential.")
    ] = False,
    cohort: Annotated[
        Path | None, typer.Option(exists=True, help="Cohort table (CSV, Parquet): work on its patients only.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Describe only the first so many reports.", min=1)] = None,
    shard: Part = "1/1",
    only_failed: OnlyFailed = False,
    dry_run: DryRun = False,
    price_in: Annotated[float, typer.Option(help="Price of a million prompt tokens, for --dry-run.", min=0)] = 0.0,
    price_out: Annotated[float, typer.Option(help="Price of a million output tokens, for --dry-run.", min=0)] = 0.0,
    workers: Annotated[int, typer.Option(help="Requests on their way at a time.", min=1)] = 8,
    device: Device = "auto",
    gpus: Annotated[int, typer.Option(help="Backend vllm: GPUs that share the model.", min=1)] = 1,
    gpu_memory: Annotated[
        float, typer.Option(help="Backend vllm: share of each GPU's memory to take.", min=0.05, max=1)
    ] = 0.9,
    context: Annotated[
        int | None,
        typer.Option(help="Backend vllm: most tokens of a report and its reply; the model's own if unset.", min=1),
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Answer a set of questions about every pathology report, each answer with a quote that proves it.

    Example: five describe-reports reports.csv -o descriptions --questions lung --backend rules
    """
    from pipelines.core.resources import DescribeReportsResources
    from pipelines.core.selection import Selection, Shard
    from pipelines.describe_reports import DescribeReportsInputs, describe_reports, plan
    from pipelines.reports.estimate import Prices

    settings = Defaults(questions, backend, model, ungrounded, max_tokens, temperature, seed, votes)
    inputs = DescribeReportsInputs(reports)
    selection = Selection(cohort, only_failed, Shard.parse(shard), limit, overwrite)
    if dry_run:
        prices = Prices(price_in, price_out)
        show_facts(plan(inputs, output, settings, selection=selection, prices=prices), as_json=as_json)
        return
    resources = DescribeReportsResources(device, workers, base_url, gpus, gpu_memory, context)
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
    header = ["question", "unknown", "quote not found", "parts disagree", "agreement of samples"]
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
