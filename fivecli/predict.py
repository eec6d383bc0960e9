"""``five predict``: a trained model and features -> class probabilities, attention, heatmaps."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fivecli.options import Config, DryRun, Json, Overwrite, Part
from fivecli.screen import finish, progress, show_facts, show_table
from fivecli.settings_options import with_settings
from pipelines.core.resources import Resources
from pipelines.core.settings import PredictSettings

MAX_PREDICTIONS_SHOWN = 40
"""Maximum number of predictions shown as a table; if there are more, they are only written."""


@with_settings
def command(
    features: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder written by `five embed`.")],
    *,
    run: Annotated[Path, typer.Option(exists=True, file_okay=False, help="Folder written by `five train`.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder where the predictions are written.")],
    classes: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="YAML file with the texts of each class. If not set, the classes of the run.",
        ),
    ] = None,
    settings: PredictSettings,
    cohort: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            help="Cohort table (CSV, Parquet): only its slides are predicted, and its labels are recorded.",
        ),
    ] = None,
    shard: Part = "1/1",
    dry_run: DryRun = False,
    resources: Resources,
    overwrite: Overwrite = False,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Predict the class of every slide by comparing it with texts that describe the classes.

    Example: five predict features --run run --classes classes.yaml --split test -o predictions
    """
    from pipelines.core.schemas import PREDICTIONS
    from pipelines.core.selection import Selection, Shard
    from pipelines.predict import PredictInputs, plan, predict

    inputs = PredictInputs(features, run, cohort, classes)
    selection = Selection(shard=Shard.parse(shard), overwrite=overwrite)
    if dry_run:
        show_facts(plan(inputs, output, settings, selection=selection), as_json=as_json)
        return
    with progress("predict") as on_result:
        summary = predict(inputs, output, settings, selection=selection, resources=resources, on_result=on_result)
    rows = PREDICTIONS.read_rows(output / "predictions.parquet")
    if not as_json and rows and len(rows) <= MAX_PREDICTIONS_SHOWN:
        names = [name for name in rows[0] if name.startswith("prob_")]
        header = ("slide", "split", "label", "predicted", *(name.removeprefix("prob_") for name in names))
        shown = [
            (r["slide_id"], r["split"] or "-", r["label"] or "-", r["predicted"], *(r[name] for name in names))
            for r in rows
        ]
        show_table("Predictions", header, shown)
    finish(summary, as_json=as_json)
