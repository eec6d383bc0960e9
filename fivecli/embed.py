"""``five embed``: tiles -> features."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from fivecli.options import CohortTable, Config, Device, Json, Overwrite
from fivecli.screen import finish, progress, show_table
from pipelines.core.settings import EmbedSettings as Defaults


def _list_encoders(*, wanted: bool) -> None:
    if not wanted:
        return
    from pipelines.encoders.presets import PRESETS, either

    rows = [
        (
            preset.name,
            preset.dim,
            either(preset.tile_sizes) or "any",
            either(preset.mpps) or "any",
            f"{preset.licence}{', gated' if preset.gated else ''}\n{preset.source}",
        )
        for preset in PRESETS.values()
    ]
    show_table("Image encoders, and timm:NAME", ("name", "dim", "tile px", "mpp", "licence and source"), rows)
    raise typer.Exit


def command(
    tiles: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder that `five tile` wrote.")],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of features to write.")],
    encoder: Annotated[str, typer.Option(help="Image encoder: a listed name, or timm:NAME.")] = Defaults.encoder,
    weights: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Weights (safetensors, state dict) in place of the encoder's."),
    ] = Defaults.weights,
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"], typer.Option(help="Arithmetic; auto is fp32 but on CUDA.")
    ] = Defaults.precision,  # type: ignore[assignment]
    dtype: Annotated[Literal["float16", "float32"], typer.Option(help="Type of the stored features.")] = Defaults.dtype,  # type: ignore[assignment]
    allow_mismatch: Annotated[
        bool, typer.Option("--allow-mismatch", help="Take tiles the encoder was not trained for.")
    ] = Defaults.allow_mismatch,
    batch_size: Annotated[int, typer.Option(help="Tiles encoded at once.", min=1)] = 64,
    workers: Annotated[int, typer.Option(help="Threads that read tiles ahead.", min=1)] = 2,
    device: Device = "auto",
    cohort: CohortTable = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    config: Config = None,
    list_encoders: Annotated[
        bool,
        typer.Option("--list-encoders", is_eager=True, callback=_list_encoders, help="List the encoders and leave."),
    ] = False,
) -> None:
    """Turn the kept tiles of every slide into features with an image encoder.

    Example: five embed tiles -o features --encoder timm:resnet50 --device cuda
    """
    from pipelines.embed import embed

    settings = Defaults(encoder, weights, precision, dtype, allow_mismatch)
    with progress("embed") as on_result:
        summary = embed(
            tiles,
            output,
            settings,
            cohort=cohort,
            batch_size=batch_size,
            workers=workers,
            device=device,
            overwrite=overwrite,
            on_result=on_result,
        )
    finish(summary, as_json=as_json)
