"""``five demo``: a synthetic cohort to try the commands on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fivecli.command import Command, Group
from fivecli.options import Config, Json, Overwrite
from fivecli.screen import finish, progress
from fivecli.settings_options import with_settings
from pipelines.core.resources import DemoResources
from pipelines.core.settings import DemoSettings

app = typer.Typer(cls=Group, no_args_is_help=True)


@app.callback()
def root() -> None:
    """Make a synthetic cohort to try the commands on; it holds no patient data."""


@app.command(cls=Command)
@with_settings
def cohort(
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder where the cohort is written.")],
    settings: DemoSettings,
    resources: DemoResources,
    overwrite: Overwrite = False,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Draw synthetic slides of two invented diagnoses that differ in tissue architecture, and write their reports.

    The slides show what the reports say about growth, differentiation, spread through air spaces, vascular invasion and
    necrosis. Margins, pleura and adjacent tissue are only in the reports.

    Example: five demo cohort -o demo/cohort --patients 24 --seed 0 --workers 2
    """
    from pipelines.core.selection import Selection
    from pipelines.demo import make_cohort

    with progress("draw") as on_result:
        summary = make_cohort(
            output,
            settings,
            selection=Selection(overwrite=overwrite),
            resources=resources,
            on_result=on_result,
        )
    finish(summary, as_json=as_json)
