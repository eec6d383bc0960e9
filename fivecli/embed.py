"""``five embed``: tiles -> features."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from fivecli.options import CohortTable, Config, DryRun, Json, OnlyFailed, Overwrite, Part, StageDir
from fivecli.screen import finish, progress, show_facts, show_table
from pipelines.core.errors import SettingsError
from pipelines.core.settings import EmbedSettings as Defaults
from pipelines.core.settings import PictureSettings


def _list_encoders(*, wanted: bool) -> None:
    if not wanted:
        return
    from pipelines.encoders.presets import ENCODER_PRESETS

    def listed(values: tuple[float, ...]) -> str:
        return ", ".join(f"{value:g}" for value in values) or "any"

    rows = [
        (known.name, known.dim, listed(known.tile_sizes), listed(known.mpps), known.licence, known.weights_source)
        for known in ENCODER_PRESETS.values()
    ]
    header = ("name", "width", "tile px", "mpp", "licence", "weights")
    show_table("Image encoders; also timm:NAME, hf:REPOSITORY, torchscript:FILE and your own file.py", header, rows)
    raise typer.Exit


def _settings(
    encoders: list[str], weights: list[str], precision: str, dtype: str, *, allow_mismatch: bool
) -> Defaults | list[Defaults]:
    """Return the settings of the encoder, or of several; ``weights`` are FILE, or ENCODER=FILE."""
    files: dict[str, Path] = {}
    for text in weights:
        name, equals, file = text.partition("=")
        name, file = (name, file) if equals and name in encoders else (encoders[0], text)
        if name in files or (len(encoders) > 1 and file == text):
            raise SettingsError(
                f"--weights {text}: not clear which encoder's",
                hint=f"write ENCODER=FILE, such as --weights {encoders[0]}={file}",
            )
        files[name] = Path(file)
    found = [Defaults(name, files.get(name), precision, dtype, allow_mismatch) for name in encoders]
    return found if len(found) > 1 else found[0]


def command(
    tiles: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder that `five tile` wrote.")],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of features to write.")],
    encoder: Annotated[
        list[str],
        typer.Option(
            help="Image encoder: a listed name, timm:NAME, hf:REPOSITORY, torchscript:FILE or your own file.py. "
            "Several, each in its own folder, read once."
        ),
    ] = [Defaults.encoder],  # noqa: B006 - typer copies it
    weights: Annotated[
        list[str],
        typer.Option(
            metavar="FILE",
            help="Weights (safetensors, state dict) in place of the encoder's; ENCODER=FILE with several.",
        ),
    ] = [],  # noqa: B006
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"], typer.Option(help="Arithmetic; auto is fp32 but on CUDA.")
    ] = Defaults.precision,  # type: ignore[assignment]
    dtype: Annotated[Literal["float16", "float32"], typer.Option(help="Type of the stored features.")] = Defaults.dtype,  # type: ignore[assignment]
    allow_mismatch: Annotated[
        bool, typer.Option("--allow-mismatch", help="Take tiles the encoder was not trained for.")
    ] = Defaults.allow_mismatch,
    save_patches: Annotated[
        Literal["jpg", "webp"] | None,
        typer.Option(help="Also keep the tiles as pictures: patches/<slide_id>.zip of <x>_<y>.jpg or .webp."),
    ] = None,
    patch_quality: Annotated[
        int, typer.Option(help="Quality of the pictures.", min=1, max=100)
    ] = PictureSettings.quality,
    batch_size: Annotated[int, typer.Option(help="Tiles encoded at once.", min=1)] = 64,
    compile: Annotated[
        bool, typer.Option("--compile", help="Compile the network first: a minute that pays for many slides.")
    ] = False,
    cohort: CohortTable = None,
    shard: Part = "1/1",
    only_failed: OnlyFailed = False,
    dry_run: DryRun = False,
    workers: Annotated[int, typer.Option(help="Threads that read tiles ahead, for each device.", min=1)] = 2,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps; cuda:0,1 runs a process for each.")
    ] = "auto",
    stage_dir: StageDir = None,
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
    from pipelines.core.resources import EmbedResources
    from pipelines.core.selection import Selection, Shard
    from pipelines.embed import EmbedInputs, embed, plan

    settings = _settings(encoder, weights, precision, dtype, allow_mismatch=allow_mismatch)
    inputs = EmbedInputs(tiles)
    selection = Selection(cohort, only_failed, Shard.parse(shard), overwrite=overwrite)
    if dry_run:
        show_facts(plan(inputs, output, settings, selection=selection), as_json=as_json)
        return
    resources = EmbedResources(device, workers, batch_size, compile, stage_dir)
    pictures = PictureSettings(save_patches, patch_quality) if save_patches else None
    with progress("embed") as on_result:
        summary = embed(
            inputs,
            output,
            settings,
            selection=selection,
            resources=resources,
            pictures=pictures,
            on_result=on_result,
        )
    finish(summary, as_json=as_json)
