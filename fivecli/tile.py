"""``five tile``: slides -> tiles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fivecli.options import (
    CohortTable,
    Config,
    DryRun,
    Json,
    OnlyFailed,
    Overwrite,
    Part,
)
from fivecli.screen import finish, progress, show_facts
from fivecli.settings_options import with_settings
from pipelines.core.resources import TileResources
from pipelines.core.settings import TileSettings


@with_settings
def command(
    slides: Annotated[
        Path, typer.Argument(exists=True, help="Folder of slides, cohort table (CSV, Parquet) or one slide.")
    ],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder where the tiles are written.")],
    settings: TileSettings,
    tissue_weights: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Weights file of the tissue network hest or grandqc (.safetensors, .ckpt, .pth).",
        ),
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="Folder with tissue outlines <slide_id>.geojson or .png, used instead of tissue detection.",
        ),
    ] = None,
    cohort: CohortTable = None,
    shard: Part = "1/1",
    only_failed: OnlyFailed = False,
    dry_run: DryRun = False,
    resources: TileResources,
    overwrite: Overwrite = False,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Cut the tissue of every slide into tiles of one resolution, and filter out bad tiles.

    Example: five tile slides/ -o tiles --target-mpp 0.5 --tile-size 224 --workers 4
    """
    from pipelines.core.selection import Selection, Shard
    from pipelines.tile import TileInputs, plan, tile

    inputs = TileInputs(slides, masks, tissue_weights)
    selection = Selection(cohort, only_failed, Shard.parse(shard), overwrite=overwrite)
    if dry_run:
        show_facts(plan(inputs, output, settings, selection=selection), as_json=as_json)
        return
    with progress("tile") as on_result:
        summary = tile(inputs, output, settings, selection=selection, resources=resources, on_result=on_result)
    finish(summary, as_json=as_json)
