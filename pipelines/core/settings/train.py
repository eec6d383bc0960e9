"""Settings of ``five train``: the model's and those of the optimisation."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from pipelines.core.errors import SettingsError
from pipelines.core.settings.base import Settings, require

BASELINES = ("mean", "max", "abmil", "clam-sb", "transmil", "dsmil")
HEAD_WIDTH = 64
"""Channels of one attention head, as in the published network."""
TEXT_RATE, FINETUNING_TEXT_RATE = 3e-4, 0.0
"""Peak learning rates of the text side: of a new model, and of a trained one that is fine-tuned."""


@dataclass(frozen=True)
class ModelSettings(Settings):
    """The model. Where FiVE's paper, released code and good practice differ, the choice is a field here."""

    model: str = "five"
    """``five``; ``five-linear``, its closed form alone, which takes seconds; or a
    baseline that learns from labels alone: ``mean``, ``max``, ``abmil``, ``clam-sb``, ``transmil``, ``dsmil``.
    Of the following, a baseline uses ``width`` and ``feature_scaling``, ``five-linear`` the latter and the text
    model without adapters."""
    width: int = 512
    """Channels of bag, text and prompt embeddings; a multiple of 64."""
    feature_scaling: str = "standard"
    """``standard``: tile features are centred and scaled per channel by the training slides' statistics,
    so that any encoder's features start on one footing; ``none`` (released): taken as they are."""
    positions: str = "grid"
    """``grid``: 2-D sine and cosine of the tile's place on the slide; ``sequence`` (released): of its row
    in the feature file, nearly constant; ``none``."""
    padding: str = "masked"
    """``masked``: only real tiles attend; ``released``: the self-attention also sees one learned pad vector
    with the weight of the padding up to ``padded_length`` (the bag embedding then depends on that length)."""
    padded_length: int = 16384
    """Tiles a bag is padded to; only for ``padding: released``."""
    attention: str = "auto"
    """Self-attention among tiles: ``exact`` (released), of a cost that grows with the square of the bag;
    ``linear``, where keys and values are averaged over 1,024 stretches of the feature file; ``auto``: linear
    in bags of more than 8,192 tiles."""
    tile_pooling: str = "log-mean-exp"
    """How the tiles that no prompt weighs stand for the slide: ``log-mean-exp``, channel by channel between their
    mean and their maximum, so that a few tiles of tumor are not lost among hundreds of others; ``mean`` (released)."""
    closed_form: bool = True
    """Add the logits of the closed form (``five-linear``) to those of the network: it carries what descriptions
    and few labels say, the network what many labels say. False (released): the network alone."""
    class_texts: str = "centred"
    """``centred``: from the texts of the classes is taken what they share, and two classes are 1 apart in the root
    mean square, so that logits depend on how classes differ; ``plain`` (released): unit vectors as they come."""
    cross_residual: bool = True
    """Keep the prompt beside what it attended to, so that gradients reach prompts from the first step;
    False (released): no residual connection."""
    text_model: str = "minilm-l6"
    """``minilm-l6`` (comes with the installation), a Hugging Face name, or a folder; any BERT-like encoder."""
    tuning: str = "lora"
    """``lora``: the text model learns through low-rank adapters; ``frozen``: only its projection learns."""
    lora_rank: int = 8
    """Rank of the adapters."""
    lora_alpha: int = 32
    """Scale of the adapters times their rank."""
    lora_dropout: float = 0.05
    """Dropout before the adapters, 0 to 1."""
    text_dropout: float = 0.0
    """Dropout inside the text model, 0 to 1; 0 because it costs a quarter of the text time on a CPU (released: 0.1)."""
    text_pooling: str = "masked"
    """``masked``: mean over a text's own tokens; ``released``: over ``context_length`` positions, padding included."""
    context_length: int = 308
    """Tokens a text is padded to; only for ``text_pooling: released``."""
    diagnosis_prompts: int = 16
    """Learnable prompts beside those of the questions."""
    prompt_tokens: int = 16
    """Soft tokens of a learnable prompt (released: 308); 0 makes it one free vector that skips the text model."""
    prompt_std: float | None = None
    """Spread of the soft tokens at the start; None takes that of the text model's own words, so that the
    prompts differ from one another (released: 0.01, close to identical)."""
    logit_scale: float = 14.3
    """Factor of the cosines, an inverse temperature; the start value if it is learned (released: 300)."""
    learn_scale: bool = True
    """Learn the factor, at most 100 (released: fixed)."""

    def __post_init__(self) -> None:
        _one_of(self, "model", ("five", "five-linear", *BASELINES))
        _one_of(self, "feature_scaling", ("standard", "none"))
        _one_of(self, "positions", ("grid", "sequence", "none"))
        _one_of(self, "padding", ("masked", "released"))
        _one_of(self, "attention", ("exact", "linear", "auto"))
        _one_of(self, "tile_pooling", ("log-mean-exp", "mean"))
        _one_of(self, "class_texts", ("centred", "plain"))
        _one_of(self, "tuning", ("lora", "frozen"))
        _one_of(self, "text_pooling", ("masked", "released"))
        require(self.width > 0 and self.width % HEAD_WIDTH == 0, f"width: {self.width} is not a multiple of 64")
        _at_least(self, 1, "padded_length", "lora_rank", "lora_alpha", "context_length")
        _at_least(self, 0, "diagnosis_prompts", "prompt_tokens")
        _at_least(self, 1e-6, "logit_scale")
        for name in ("lora_dropout", "text_dropout"):
            require(0 <= getattr(self, name) < 1, f"{name}: {getattr(self, name)} is not in 0..1")

    @property
    def of_model(self) -> dict[str, Any]:
        """The values of the model's fields only."""
        return {field.name: getattr(self, field.name) for field in fields(ModelSettings)}


@dataclass(frozen=True)
class TrainSettings(ModelSettings):
    """How the model is trained, on which patients, and how the best epoch is chosen."""

    regime: str = "pretrain"
    """``pretrain``: descriptions of reports supervise; ``finetune``: class texts and the cohort's labels;
    ``linear-probe``: labels train a logistic regression on the embeddings of a run that does not change."""
    loss: str = "symmetric"
    """``symmetric`` (paper): image to text and text to image; ``image_to_text`` (released)."""
    extra_texts: int = 16
    """Descriptions of other training patients that stand beside the batch's own as wrong answers in a step,
    without gradient (released: all)."""
    max_dropped: int = 5
    """Most questions left out of descriptions and prompts in a step; one always stays."""
    text_variants: int = 64
    """Only for ``tuning: frozen``: ways of dropping and shuffling that a run uses, so that texts come again and
    are encoded once only; 0 draws anew in every step (then most texts are new, and each step encodes them)."""
    tile_ratio: float = 0.5
    """Share of a slide's tiles drawn anew for each training step, 0 to 1."""
    max_tiles: int = 1024
    """Most tiles of a slide in a training step."""
    max_tiles_eval: int = 8192
    """Most tiles of a slide in validation, spread evenly."""
    epochs: int = 40
    """Passes over the training slides."""
    patience: int = 15
    """Epochs without a better validation result after which training stops."""
    batch_size: int = 8
    """Slides that are compared with each other's texts in a step."""
    accumulation: int = 1
    """Batches whose gradients are added up before the weights change."""
    lr: float = 3e-4
    """Peak learning rate of everything that sees tiles (released: 3e-5)."""
    lr_text: float | None = None
    """Peak learning rate of adapters, text projection and learnable prompts (released: 3e-6, at which they
    hardly move within the few hundred steps of a small cohort). None is 3e-4, or 0 where a trained run is
    fine-tuned: the few class texts would teach it nothing about language, and texts are encoded once only."""
    label_smoothing: float = 0.1
    """Share of the target that the other classes get in ``finetune``, so that logits need not grow without end
    (released: 0). FiVE's only: a baseline keeps the loss of its paper."""
    weight_decay: float = 0.01
    """AdamW's, for matrices only."""
    warmup: float = 0.05
    """Share of the steps in which the learning rate rises, 0 to 1; it then falls by a cosine to a hundredth."""
    clip_norm: float = 1.0
    """Gradients longer than this are shortened; 0 turns it off (released)."""
    balance: str = "none"
    """For classes of different sizes: ``weights`` (a slide counts by how rare its class is among the training
    slides), ``sampling`` (as many slides of each class in an epoch), or ``none``. Not for ``pretrain``."""
    precision: str = "fp32"
    """Of the arithmetic: ``fp32``, ``bf16`` (GPUs; slower on most CPUs) or ``fp16`` (GPUs, with loss scaling)."""
    checkpoint_activations: bool = False
    """Compute the activations of a slide a second time instead of keeping those of the whole batch: less
    memory, a third more time."""
    shots: int | None = None
    """Training patients drawn per class; None takes all. Not for ``pretrain``."""
    percent: float | None = None
    """Percent of the training patients drawn per class, at least one; None takes all. Not for ``pretrain``."""
    folds: int | None = None
    """Cross-validation folds; None makes one random split."""
    fold: int | None = None
    """The fold that is held out as test set, from 0."""
    val_fraction: float = 0.15
    """Share of the patients on which the best epoch is chosen."""
    test_fraction: float = 0.25
    """Share of the patients held out; not used with ``folds``."""
    keep_sites: bool = True
    """Where the cohort has a ``site`` column, draw whole sites into the parts, so that what is particular to
    a site cannot be learnt in one part and used in another."""
    seed: int = 0
    """Decides splits, order, sampling and initial weights."""

    def with_text_rate(self, *, is_tuned: bool) -> TrainSettings:
        """Return these settings with the learning rate of the text side that None stands for.

        Parameters
        ----------
        is_tuned
            A trained run is fine-tuned.
        """
        if self.lr_text is not None:
            return self
        return replace(self, lr_text=FINETUNING_TEXT_RATE if is_tuned and self.regime == "finetune" else TEXT_RATE)

    def __post_init__(self) -> None:
        super().__post_init__()
        _one_of(self, "regime", ("pretrain", "finetune", "linear-probe"))
        require(
            self.model not in BASELINES or self.regime != "pretrain",
            f"model: {self.model} learns from labels, not from descriptions",
            hint="add --regime finetune",
        )
        require(
            self.model == "five" or self.regime != "linear-probe",
            f"model: {self.model} is not one to probe",
            hint="use --regime finetune",
        )
        _one_of(self, "loss", ("symmetric", "image_to_text"))
        _one_of(self, "balance", ("none", "weights", "sampling"))
        _one_of(self, "precision", ("fp32", "bf16", "fp16"))
        _at_least(self, 1, "max_tiles", "max_tiles_eval", "epochs", "patience", "batch_size", "accumulation")
        _at_least(self, 0, "extra_texts", "text_variants", "max_dropped", "weight_decay", "clip_norm")
        _at_least(self, 0, *(name for name in ("lr", "lr_text") if getattr(self, name) is not None))
        require(0 <= self.label_smoothing < 1, f"label_smoothing: {self.label_smoothing} is not in 0..1")
        require(0 < self.tile_ratio <= 1, f"tile_ratio: {self.tile_ratio} is not in 0..1")
        require(0 <= self.warmup < 1, f"warmup: {self.warmup} is not in 0..1")
        require(self.shots is None or self.shots > 0, f"shots: {self.shots} is not a positive number")
        require(self.percent is None or 0 < self.percent <= 100, f"percent: {self.percent} is not in 0..100")
        require(self.shots is None or self.percent is None, "shots and percent: give one of the two")
        for name, unused in (("shots", None), ("percent", None), ("balance", "none")):
            require(
                getattr(self, name) == unused or self.regime != "pretrain",
                f"{name}: pretrain has no classes",
                hint=f"add --regime finetune, or leave --{name} out",
            )


def _one_of(settings: Settings, name: str, allowed: tuple[str, ...]) -> None:
    value = getattr(settings, name)
    if value not in allowed:
        raise SettingsError(f"{name}: {value!r} is not known", hint=f"use {' or '.join(allowed)}")


def _at_least(settings: Settings, least: float, *names: str) -> None:
    for name in names:
        value = getattr(settings, name)
        require(value >= least, f"{name}: {value} is less than {least:g}")
