"""``five demo``: a synthetic cohort to try the commands on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fivecli.options import Json, Overwrite, Workers
from fivecli.screen import finish, progress
from pipelines.core.settings import DemoSettings

app = typer.Typer(no_args_is_help=True)


@app.callback()
def root() -> None:
    """Make a synthetic cohort to try the commands on; no patient is behind it."""


@app.command()
def cohort(
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write the cohort to.")],
    patients: Annotated[int, typer.Option(help="Invented patients, half of each diagnosis.")] = DemoSettings.patients,
    seed: Annotated[int, typer.Option(help="Another seed draws other slides.")] = DemoSettings.seed,
    workers: Workers = 1,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Draw synthetic slides and write their reports: two made-up diagnoses that differ in architecture.

    Example: five demo cohort -o demo/cohort --patients 24 --seed 0 --workers 2
    """
    from pipelines.core.resources import DemoResources
    from pipelines.core.selection import Selection
    from pipelines.demo import make_cohort

    settings = DemoSettings(patients=patients, seed=seed)
    with progress("draw") as on_result:
        summary = make_cohort(
            output,
            settings,
            selection=Selection(overwrite=overwrite),
            resources=DemoResources(workers),
            on_result=on_result,
        )
    finish(summary, as_json=as_json)
