"""``five tile``: slides -> tiles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from fivecli.options import (
    CohortTable,
    Config,
    Device,
    DryRun,
    Json,
    OnlyFailed,
    Overwrite,
    Part,
    Ray,
    StageDir,
    Workers,
)
from fivecli.screen import finish, progress, show_facts
from pipelines.core.settings import TileSettings as Defaults


def command(
    slides: Annotated[Path, typer.Argument(exists=True, help="Folder of slides, cohort table, or one slide.")],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of tiles to write.")],
    tile_size: Annotated[int, typer.Option(help="Edge of a tile, pixels.", min=1)] = Defaults.tile_size,
    target_mpp: Annotated[float, typer.Option(help="Microns per pixel of a tile.")] = Defaults.target_mpp,
    overlap: Annotated[int, typer.Option(help="Pixels that neighbours share.", min=0)] = Defaults.overlap,
    mpp: Annotated[
        float | None, typer.Option(help="Microns per pixel of slides that record none (0.25 for a 40x scan).")
    ] = Defaults.mpp,
    max_enlargement: Annotated[
        float, typer.Option(help="Refuse slides coarser than --target-mpp by more than this factor.", min=1)
    ] = Defaults.max_enlargement,
    tissue_method: Annotated[
        Literal["otsu", "hsv", "hest", "grandqc"],
        typer.Option(help="How tissue is found: by saturation, by the hues of H&E, or by a network."),
    ] = Defaults.tissue_method,  # type: ignore[assignment]
    tissue_weights: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Weights of hest or grandqc (.safetensors, .ckpt, .pth)."),
    ] = None,
    tissue_mpp: Annotated[
        float, typer.Option(help="Microns per pixel of the thumbnail where tissue is found.")
    ] = Defaults.tissue_mpp,
    min_tissue: Annotated[
        float, typer.Option(help="Least share of a tile that is tissue.", min=0, max=1)
    ] = Defaults.min_tissue,
    min_area_mm2: Annotated[
        float, typer.Option(help="Drop smaller pieces of tissue and fill smaller holes, mm2.", min=0)
    ] = Defaults.min_area_mm2,
    max_white: Annotated[
        float, typer.Option(help="Largest share of a tile that is white.", min=0, max=1)
    ] = Defaults.max_white,
    max_black: Annotated[
        float, typer.Option(help="Largest share of a tile that is black.", min=0, max=1)
    ] = Defaults.max_black,
    max_pen: Annotated[
        float, typer.Option(help="Largest share of a tile that is ink.", min=0, max=1)
    ] = Defaults.max_pen,
    max_fold: Annotated[
        float, typer.Option(help="Largest share of a tile that is folded or over-stained.", min=0, max=1)
    ] = Defaults.max_fold,
    min_focus: Annotated[
        float, typer.Option(help="Least sharpness of a tile; 0 allows all.", min=0)
    ] = Defaults.min_focus,
    min_contrast: Annotated[
        float, typer.Option(help="Least contrast of a tile; 0 allows all, and with --min-focus 0 reads less.", min=0)
    ] = Defaults.min_contrast,
    keep_all: Annotated[
        bool, typer.Option("--keep-all", help="Record faults of tiles, but drop only background.")
    ] = Defaults.keep_all,
    masks: Annotated[
        Path | None,
        typer.Option(
            exists=True, file_okay=False, help="Folder of <slide_id>.geojson or .png that say where the tissue is."
        ),
    ] = None,
    cohort: CohortTable = None,
    shard: Part = "1/1",
    only_failed: OnlyFailed = False,
    dry_run: DryRun = False,
    workers: Workers = 1,
    device: Device = "auto",
    ray: Ray = None,
    stage_dir: StageDir = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Cut the tissue of every slide into tiles of one size in microns, and judge every tile.

    Example: five tile slides/ -o tiles --target-mpp 0.5 --tile-size 224 --workers 4
    """
    from pipelines.core.resources import TileResources
    from pipelines.core.selection import Selection, Shard
    from pipelines.tile import TileInputs, plan, tile

    settings = Defaults(
        tile_size=tile_size,
        target_mpp=target_mpp,
        overlap=overlap,
        mpp=mpp,
        max_enlargement=max_enlargement,
        tissue_method=tissue_method,
        tissue_mpp=tissue_mpp,
        min_tissue=min_tissue,
        min_area_mm2=min_area_mm2,
        max_white=max_white,
        max_black=max_black,
        max_pen=max_pen,
        max_fold=max_fold,
        min_focus=min_focus,
        min_contrast=min_contrast,
        keep_all=keep_all,
    )
    inputs = TileInputs(slides, masks, tissue_weights)
    selection = Selection(cohort, only_failed, Shard.parse(shard), overwrite=overwrite)
    if dry_run:
        show_facts(plan(inputs, output, settings, selection=selection), as_json=as_json)
        return
    resources = TileResources(device, workers, stage_dir, ray)
    with progress("tile") as on_result:
        summary = tile(inputs, output, settings, selection=selection, resources=resources, on_result=on_result)
    finish(summary, as_json=as_json)
