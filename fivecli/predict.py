"""``five predict``: features and a trained model, or texts -> class probabilities, answers, maps."""

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
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder where the predictions are written.")],
    run: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="Folder written by `five train`. If not set, tiles are compared with the texts of --classes and "
            "--questions; the features must be of an encoder with a text tower.",
        ),
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="YAML file with the texts of each class. If not set, the classes of the run.",
        ),
    ] = None,
    questions: Annotated[
        str | None,
        typer.Option(
            metavar="<name>",
            help="Compare tiles with the answers to these questions: a set of `five questions list`, or a YAML file. "
            "Not with --run.",
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

    Without --run, nothing is learned: tiles are compared with texts in the space of a joint image-text encoder.

    Example: five predict features --run run --classes classes.yaml --split test -o predictions

    Example: five predict features --classes classes.yaml --questions lung -o zero-shot
    """
    from pipelines.core.selection import Selection, Shard
    from pipelines.predict import PredictInputs, plan, predict

    inputs = PredictInputs(features, run, cohort, classes, questions)
    selection = Selection(shard=Shard.parse(shard), overwrite=overwrite)
    if dry_run:
        show_facts(plan(inputs, output, settings, selection=selection), as_json=as_json)
        return
    with progress("predict") as on_result:
        summary = predict(inputs, output, settings, selection=selection, resources=resources, on_result=on_result)
    if not as_json:
        _show_predictions(output)
    finish(summary, as_json=as_json)


def _show_predictions(output: Path) -> None:
    """Show the predictions and answers as tables, unless there are too many."""
    from pipelines.core.schemas import PREDICTIONS
    from pipelines.core.slide_answers import preferred_answers

    rows = PREDICTIONS.read_rows(output / "predictions.parquet")
    if not rows or len(rows) > MAX_PREDICTIONS_SHOWN:
        return
    names = [name for name in rows[0] if name.startswith("prob_")]
    if names:
        header = ("slide", "split", "label", "predicted", *(name.removeprefix("prob_") for name in names))
        shown = [
            (r["slide_id"], r["split"] or "-", r["label"] or "-", r["predicted"], *(r[name] for name in names))
            for r in rows
        ]
        show_table("Predictions", header, shown)
    answers = [answer for row in rows for answer in preferred_answers(row)]
    if 0 < len(answers) <= MAX_PREDICTIONS_SHOWN:
        header = ("slide", "question", "answer", "margin")
        show_table("Answers", header, [(a["slide_id"], a["question_id"], a["answer"], a["margin"]) for a in answers])
