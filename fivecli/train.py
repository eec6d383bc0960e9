"""``five train``: features and descriptions (or labels) -> a trained model."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from fivecli.options import Config, Device, DryRun, Json, Overwrite
from fivecli.screen import finish, progress, show_facts
from pipelines.core.errors import SettingsError
from pipelines.core.settings import TrainSettings as Defaults
from pipelines.core.settings.train_presets import TRAIN_PRESETS

MODEL, LEARNING, DATA = "Model", "Learning", "Data"


def _apply_preset(context: typer.Context, name: str) -> str:
    """Make the values of a preset the defaults of this command; flags, FIVE_* and --config win over them."""
    if name not in TRAIN_PRESETS:
        raise SettingsError(f"--preset {name}: not known", hint=f"use {' or '.join(TRAIN_PRESETS)}")
    context.default_map = {**TRAIN_PRESETS[name], **(context.default_map or {})}
    return name


def _option(help_text: str, panel: str, **limits: Any) -> Any:
    return typer.Option(help=help_text, rich_help_panel=panel, **limits)


def _file(help_text: str) -> Any:
    return typer.Option(exists=True, help=help_text, rich_help_panel=DATA)


def command(
    context: typer.Context,
    features: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder that `five embed` wrote.")],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run to write.")],
    regime: Annotated[
        Literal["pretrain", "finetune", "linear-probe"],
        typer.Option(help="Learn from descriptions, from class texts and labels, or a regression on a fixed run."),
    ] = Defaults.regime,  # type: ignore[assignment]
    preset: Annotated[
        str, typer.Option(is_eager=True, callback=_apply_preset, help="five, or released: as the published code.")
    ] = "five",
    descriptions: Annotated[Path | None, _file("Folder that `five describe-reports` wrote.")] = None,
    cohort: Annotated[Path | None, _file("Cohort table: slides, patients, labels, splits.")] = None,
    classes: Annotated[Path | None, _file("YAML of class texts, for --regime finetune.")] = None,
    init: Annotated[Path | None, _file("Run to start from; its model settings and splits are kept.")] = None,
    splits: Annotated[Path | None, _file("Splits to use again: of another run, CLAM or STAMP.")] = None,
    shots: Annotated[int | None, _option("Training patients per class.", DATA, min=1)] = Defaults.shots,
    percent: Annotated[float | None, _option("Percent of the training patients per class.", DATA)] = Defaults.percent,
    folds: Annotated[int | None, _option("Cross-validation folds.", DATA, min=2)] = Defaults.folds,
    fold: Annotated[int | None, _option("Fold held out as test set, from 0.", DATA, min=0)] = Defaults.fold,
    val_fraction: Annotated[float, _option("Share of patients to choose the epoch.", DATA)] = Defaults.val_fraction,
    test_fraction: Annotated[float, _option("Share of patients held out.", DATA)] = Defaults.test_fraction,
    keep_sites: Annotated[bool, _option("Whole sites in each part, if known.", DATA)] = Defaults.keep_sites,
    tile_ratio: Annotated[float, _option("Share of tiles drawn per step.", DATA)] = Defaults.tile_ratio,
    max_tiles: Annotated[int, _option("Most tiles of a slide in a step.", DATA)] = Defaults.max_tiles,
    max_tiles_eval: Annotated[int, _option("Most tiles in validation.", DATA)] = Defaults.max_tiles_eval,
    seed: Annotated[int, _option("Decides splits, order, sampling, weights.", DATA)] = Defaults.seed,
    model: Annotated[
        Literal["five", "five-linear", "mean", "max", "abmil", "clam-sb", "transmil", "dsmil"],
        _option("FiVE, its closed form, or a baseline.", MODEL),
    ] = Defaults.model,  # type: ignore[assignment]
    text_model: Annotated[str, _option("minilm-l6, Hugging Face name, or folder.", MODEL)] = Defaults.text_model,
    tuning: Annotated[Literal["lora", "frozen"], _option("How the text model learns.", MODEL)] = Defaults.tuning,  # type: ignore[assignment]
    lora_rank: Annotated[int, _option("Rank of the adapters.", MODEL)] = Defaults.lora_rank,
    lora_alpha: Annotated[int, _option("Scale of the adapters times rank.", MODEL)] = Defaults.lora_alpha,
    lora_dropout: Annotated[float, _option("Dropout before the adapters.", MODEL)] = Defaults.lora_dropout,
    text_dropout: Annotated[float, _option("Dropout in the text model.", MODEL)] = Defaults.text_dropout,
    text_pooling: Annotated[
        Literal["masked", "released"], _option("Mean over a text's tokens, or padding too.", MODEL)
    ] = Defaults.text_pooling,  # type: ignore[assignment]
    context_length: Annotated[int, _option("Tokens padded to (released pooling).", MODEL)] = Defaults.context_length,
    width: Annotated[int, _option("Channels of the embeddings.", MODEL)] = Defaults.width,
    feature_scaling: Annotated[
        Literal["standard", "none"], _option("Scale features by training statistics.", MODEL)
    ] = Defaults.feature_scaling,  # type: ignore[assignment]
    positions: Annotated[
        Literal["grid", "sequence", "none"], _option("2-D place of a tile, its row (released), or none.", MODEL)
    ] = Defaults.positions,  # type: ignore[assignment]
    padding: Annotated[
        Literal["masked", "released"], _option("Real tiles only, or padding takes part.", MODEL)
    ] = Defaults.padding,  # type: ignore[assignment]
    attention: Annotated[
        Literal["exact", "linear", "auto"], _option("Cost of attention; auto: linear beyond 8,192 tiles.", MODEL)
    ] = Defaults.attention,  # type: ignore[assignment]
    padded_length: Annotated[int, _option("Tiles padded to (released padding).", MODEL)] = Defaults.padded_length,
    tile_pooling: Annotated[
        Literal["log-mean-exp", "mean"], _option("Tiles that no prompt weighs.", MODEL)
    ] = Defaults.tile_pooling,  # type: ignore[assignment]
    closed_form: Annotated[bool, _option("Add the logits of five-linear.", MODEL)] = Defaults.closed_form,
    class_texts: Annotated[
        Literal["centred", "plain"], _option("What differs between classes, or texts as they are.", MODEL)
    ] = Defaults.class_texts,  # type: ignore[assignment]
    cross_residual: Annotated[bool, _option("Residuals in cross-attention.", MODEL)] = Defaults.cross_residual,
    diagnosis_prompts: Annotated[int, _option("Learnable prompts.", MODEL)] = Defaults.diagnosis_prompts,
    prompt_tokens: Annotated[int, _option("Soft tokens of each; 0: a vector.", MODEL)] = Defaults.prompt_tokens,
    prompt_std: Annotated[float | None, _option("Spread of soft tokens at start.", MODEL)] = Defaults.prompt_std,
    logit_scale: Annotated[float, _option("Factor of the cosines.", MODEL)] = Defaults.logit_scale,
    learn_scale: Annotated[bool, _option("Learn that factor.", MODEL)] = Defaults.learn_scale,
    loss: Annotated[
        Literal["symmetric", "image_to_text"], _option("Both directions (paper), or one (released).", LEARNING)
    ] = Defaults.loss,  # type: ignore[assignment]
    extra_texts: Annotated[int, _option("Other patients' texts in a step.", LEARNING)] = Defaults.extra_texts,
    max_dropped: Annotated[int, _option("Most questions dropped in a step.", LEARNING)] = Defaults.max_dropped,
    text_variants: Annotated[int, _option("Ways of rebuilding texts for frozen.", LEARNING)] = Defaults.text_variants,
    epochs: Annotated[int, _option("Passes over the training slides.", LEARNING)] = Defaults.epochs,
    patience: Annotated[int, _option("Epochs without gain before stopping.", LEARNING)] = Defaults.patience,
    batch_size: Annotated[int, _option("Slides in a batch.", LEARNING)] = Defaults.batch_size,
    accumulation: Annotated[int, _option("Batches per weight update.", LEARNING)] = Defaults.accumulation,
    lr: Annotated[float, _option("Peak learning rate, tile side.", LEARNING)] = Defaults.lr,
    lr_text: Annotated[
        float | None, _option("Peak learning rate, text side. [default: 3e-4; 0 for finetune --init]", LEARNING)
    ] = Defaults.lr_text,
    label_smoothing: Annotated[
        float, _option("Share of the target for the other classes.", LEARNING)
    ] = Defaults.label_smoothing,
    weight_decay: Annotated[float, _option("AdamW's, matrices only.", LEARNING)] = Defaults.weight_decay,
    warmup: Annotated[float, _option("Share of steps with rising rate.", LEARNING)] = Defaults.warmup,
    clip_norm: Annotated[float, _option("Longest gradient; 0: any.", LEARNING)] = Defaults.clip_norm,
    balance: Annotated[
        Literal["none", "weights", "sampling"], _option("For classes of different sizes.", LEARNING)
    ] = Defaults.balance,  # type: ignore[assignment]
    precision: Annotated[
        Literal["fp32", "bf16", "fp16"], _option("Of the arithmetic; fp16 on GPUs only.", LEARNING)
    ] = Defaults.precision,  # type: ignore[assignment]
    checkpoint_activations: Annotated[
        bool, _option("Compute activations twice to save memory.", LEARNING)
    ] = Defaults.checkpoint_activations,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Also write TensorBoard events.")] = False,
    dry_run: DryRun = False,
    device: Device = "auto",
    overwrite: Overwrite = False,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Train FiVE on features and descriptions, or fine-tune it on labels. An interrupted run goes on when repeated.

    Example: five train features --descriptions descriptions --cohort cohort.csv -o run
    """
    from pipelines.core.resources import Resources
    from pipelines.core.selection import Selection
    from pipelines.train import TrainInputs, plan, train

    settings = Defaults(**{field.name: context.params[field.name] for field in fields(Defaults)})
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
            resources=Resources(device),
            tensorboard=tensorboard,
            on_result=on_result,
        )
    if os.environ.get("RANK", "0") == "0":  # of the processes of a launcher, the first speaks
        finish(summary, unit="run" if summary.counts["kept"] else "epochs", as_json=as_json)
