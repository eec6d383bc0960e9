"""``five embed``: tiles -> features."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from fivecli.options import CohortTable, Config, DryRun, Json, OnlyFailed, Overwrite, Part
from fivecli.screen import finish, progress, show_facts, show_table
from fivecli.settings_options import field_help, option_of, with_settings
from pipelines.core.errors import SettingsError
from pipelines.core.resources import EmbedResources
from pipelines.core.settings import EmbedSettings, PictureSettings
from pipelines.core.settings.embed import PictureFormat


def _list_encoders(*, wanted: bool) -> None:
    if not wanted:
        return
    from pipelines.encoders.presets import ENCODER_PRESETS

    def words(values: tuple[float, ...]) -> str:
        return ", ".join(f"{value:g}" for value in values) or "any"

    rows = [
        (
            *(known.name, known.dim, words(known.tile_sizes), words(known.mpps), "yes" if known.text else ""),
            *(known.license, known.weights_source),
        )
        for known in ENCODER_PRESETS.values()
    ]
    header = ("name", "width", "tile px", "mpp", "texts", "license", "weights")
    others = "timm:NAME, hf:REPOSITORY, open_clip:NAME, torchscript:FILE and your own file.py"
    show_table(f"Image encoders; also {others}", header, rows)
    raise typer.Exit


def _per_encoder(
    settings: EmbedSettings, encoders: list[str], weights: list[str]
) -> EmbedSettings | list[EmbedSettings]:
    """Return the settings of the encoder, or one per encoder if there are several.

    ``weights`` are FILE, or ENCODER=FILE.
    """
    files: dict[str, Path] = {}
    for text in weights:
        name, equals, file = text.partition("=")
        name, file = (name, file) if equals and name in encoders else (encoders[0], text)
        if name in files or (len(encoders) > 1 and file == text):
            raise SettingsError(
                f"--weights {text}: ambiguous, because there are several encoders or files",
                hint=f"write ENCODER=FILE, for example --weights {encoders[0]}={file}",
            )
        files[name] = Path(file)
    each = [replace(settings, encoder=name, weights=files.get(name)) for name in encoders]
    return each if len(each) > 1 else each[0]


@with_settings
def command(
    tiles: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder written by `five tile`.")],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder where the features are written.")],
    encoder: Annotated[
        list[str],
        typer.Option(
            metavar="<name>",
            help=field_help(EmbedSettings, "encoder")
            + " Repeat the option for several encoders: tiles are read once, and each encoder has its own folder.",
        ),
    ] = [EmbedSettings.encoder],  # noqa: B006 - typer copies it
    weights: Annotated[
        list[str],
        typer.Option(
            metavar="<file>",
            help=field_help(EmbedSettings, "weights") + " With several encoders, write ENCODER=FILE.",
        ),
    ] = [],  # noqa: B006
    settings: EmbedSettings,
    save_patches: Annotated[PictureFormat | None, option_of(PictureSettings, "format")] = None,
    patch_quality: Annotated[int, option_of(PictureSettings, "quality")] = PictureSettings.quality,
    cohort: CohortTable = None,
    shard: Part = "1/1",
    only_failed: OnlyFailed = False,
    dry_run: DryRun = False,
    resources: EmbedResources,
    overwrite: Overwrite = False,
    as_json: Json = False,
    config: Config = None,
    list_encoders: Annotated[
        bool,
        typer.Option(
            "--list-encoders", is_eager=True, callback=_list_encoders, help="List the named encoders and exit."
        ),
    ] = False,
) -> None:
    """Compute a feature vector for every kept tile with an image encoder.

    Example: five embed tiles -o features --encoder timm:resnet50 --device cuda
    """
    from pipelines.core.selection import Selection, Shard
    from pipelines.embed import EmbedInputs, embed, plan

    per_encoder = _per_encoder(settings, encoder, weights)
    inputs = EmbedInputs(tiles)
    selection = Selection(cohort, only_failed, Shard.parse(shard), overwrite=overwrite)
    if dry_run:
        show_facts(plan(inputs, output, per_encoder, selection=selection), as_json=as_json)
        return
    pictures = PictureSettings(save_patches, patch_quality) if save_patches else None
    with progress("embed") as on_result:
        summary = embed(
            inputs,
            output,
            per_encoder,
            selection=selection,
            resources=resources,
            pictures=pictures,
            on_result=on_result,
        )
    finish(summary, as_json=as_json)
