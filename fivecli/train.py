"""``five train``: features and descriptions (or labels) -> a trained model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from fivecli.options import Config, DryRun, Json, Overwrite
from fivecli.screen import finish, progress, show_facts
from fivecli.settings_options import with_settings
from pipelines.core.resources import Resources
from pipelines.core.settings import TrainSettings
from pipelines.core.settings.train import DataSettings
from pipelines.core.settings.train_presets import TRAIN_PRESETS, Preset


def _apply_preset(context: typer.Context, name: Preset) -> Preset:
    """Make the values of a preset the defaults of this command; flags, FIVE_* variables and --config win over them."""
    context.default_map = {**TRAIN_PRESETS[name], **(context.default_map or {})}
    return name


def _input(help_text: str) -> Any:
    return typer.Option(exists=True, help=help_text, rich_help_panel=DataSettings.group)


@with_settings
def command(
    features: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder written by `five embed`.")],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder where the run is written.")],
    preset: Annotated[
        Preset,
        typer.Option(
            is_eager=True,
            callback=_apply_preset,
            help="Defaults of the other options: five (ours) or released (those of the published code).",
        ),
    ] = "five",
    descriptions: Annotated[Path | None, _input("Folder written by `five describe-reports`; for pretraining.")] = None,
    cohort: Annotated[
        Path | None, _input("Cohort table (CSV, Parquet) with slides, patients, labels and splits.")
    ] = None,
    classes: Annotated[Path | None, _input("YAML file with the texts of each class, for --regime finetune.")] = None,
    init: Annotated[Path | None, _input("Run to start from; its model settings and splits are kept.")] = None,
    splits: Annotated[
        Path | None, _input("Splits to reuse: splits.parquet of another run, or a splits file of CLAM or STAMP.")
    ] = None,
    settings: TrainSettings,
    tensorboard: Annotated[
        bool,
        typer.Option(
            "--tensorboard", help="Also write the metrics for TensorBoard, to the folder tensorboard of the run."
        ),
    ] = False,
    dry_run: DryRun = False,
    resources: Resources,
    overwrite: Overwrite = False,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Train FiVE on features and descriptions, or fine-tune it on labels.

    Run the same command again to resume an interrupted run.

    Example: five train features --descriptions descriptions --cohort cohort.csv -o run
    """
    from pipelines.core.selection import Selection
    from pipelines.train import TrainInputs, plan, train

    selection = Selection(overwrite=overwrite)
    inputs = TrainInputs(features, cohort, descriptions, classes, init, splits)
    if dry_run:
        show_facts(plan(inputs, output, settings, selection=selection), as_json=as_json)
        return
    with progress("train", "epochs") as on_result:
        summary = train(
            inputs,
            output,
            settings,
            selection=selection,
            resources=resources,
            tensorboard=tensorboard,
            on_result=on_result,
        )
    if os.environ.get("RANK", "0") == "0":  # only the first process of a launcher prints
        finish(summary, unit="run" if summary.counts["kept"] else "epochs", as_json=as_json)
