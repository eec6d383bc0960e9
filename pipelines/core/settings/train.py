"""Settings of ``five train``: the model's, those of learning and those of the data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pipelines.core.settings.base import Settings, require
from pipelines.core.settings.fields import Limits, ProperFraction
from pipelines.core.settings.model import ENCODER_TEXTS, RELEASED, ModelSettings

Regime = Literal["pretrain", "finetune", "linear-probe"]
Loss = Literal["symmetric", "image_to_text"]
Balance = Literal["none", "weights", "sampling"]
TrainPrecision = Literal["fp32", "bf16", "fp16"]

TEXT_RATE, FINETUNING_TEXT_RATE = 3e-4, 0.0
"""Peak learning rates of the text side: for a new model, and for a trained one that is fine-tuned."""


@dataclass(frozen=True)
class LearningSettings(Settings):
    """How the weights are learned."""

    group: ClassVar[str] = "Learning"

    epochs: Annotated[int, Limits(min=1)] = 40
    """Maximum number of passes over the training slides."""
    patience: Annotated[int, Limits(min=1)] = 15
    """Stop after this many epochs without a better validation result."""
    batch_size: Annotated[int, Limits(min=1)] = 8
    """Number of slides per batch; in pretraining, slides are compared with each other's texts."""
    accumulation: Annotated[int, Limits(min=1)] = 1
    """Number of batches whose gradients are accumulated before the weights are updated."""
    lr: Annotated[float, Limits(min=0)] = 3e-4
    """Peak learning rate of all weights that process tiles.

    The released code has 3e-5."""
    lr_text: Annotated[float | None, Limits(min=0)] = None
    """Peak learning rate of the text side: adapters, text projection and learnable prompts. If not set, 0.0003, or 0
    when a trained run (--init) is fine-tuned.

    At the released code's 3e-6 they hardly move within the few hundred steps of a small cohort. Fine-tuning keeps the
    text side fixed because a few class texts would teach it nothing about language; texts are then encoded once."""
    weight_decay: Annotated[float, Limits(min=0)] = 0.01
    """Weight decay of AdamW; applies to matrices, not to biases and norms."""
    warmup: ProperFraction = 0.05
    """Fraction of the steps in which the learning rate rises; it then falls along a cosine to 1 % of its peak."""
    clip_norm: Annotated[float, Limits(min=0)] = 1.0
    """Clip gradients to this norm; 0 (released code) disables clipping."""
    loss: Annotated[Loss, RELEASED] = "symmetric"
    """Contrastive loss of pretraining: ``symmetric`` compares images with texts and texts with images (paper),
    ``image_to_text`` only images with texts."""
    extra_texts: Annotated[int, Limits(min=0)] = 16
    """Number of other patients' descriptions that each pretraining step adds as negatives, without gradient.

    The released code adds all."""
    max_dropped: Annotated[int, Limits(min=0)] = 5
    """Maximum number of questions that are randomly left out of descriptions and prompts in a pretraining step; one is
    always kept."""
    text_variants: Annotated[int, Limits(min=0)] = 64
    """Only used with ``tuning=frozen``: number of shuffled and shortened text variants per run, each encoded once. 0
    makes new ones in every step, which is slower."""
    label_smoothing: ProperFraction = 0.1
    """Fraction of the target given to the other classes in fine-tuning, so that logits stay bounded; baselines keep the
    loss of their papers.

    The released code has 0."""
    balance: Balance = "none"
    """Balancing of unequal classes, not for pretraining: ``weights`` gives slides of rare classes more weight,
    ``sampling`` draws slides of all classes equally often."""
    precision: TrainPrecision = "fp32"
    """Floating-point precision: ``fp32``, ``bf16`` (for GPUs; slower on most CPUs) or ``fp16`` (needs a GPU; uses loss
    scaling)."""
    checkpoint_activations: bool = False
    """Recompute activations in the backward pass: needs less memory, takes about a third longer."""


@dataclass(frozen=True)
class DataSettings(Settings):
    """Which patients and tiles the model is trained, validated and tested on."""

    group: ClassVar[str] = "Data"

    shots: Annotated[int | None, Limits(min=1)] = None
    """Number of training patients per class, drawn at random; not for pretraining. If not set, all are used.

    Only the drawn labels are then used: no validation labels, and the last epoch is kept."""
    percent: Annotated[float | None, Limits(above=0, max=100)] = None
    """Percentage of the training patients per class (at least one), drawn at random; not for pretraining. If not set,
    all are used.

    Only the drawn labels are then used, as with ``shots``."""
    folds: Annotated[int | None, Limits(min=2)] = None
    """Number of cross-validation folds. If not set, patients are split once at random."""
    fold: Annotated[int | None, Limits(min=0)] = None
    """Fold held out as the test set, counted from 0; needs ``folds`` or --splits."""
    val_fraction: ProperFraction = 0.15
    """Fraction of the patients used for validation, which selects the best epoch. ``five`` has no epochs and
    learns from these patients too."""
    test_fraction: ProperFraction = 0.25
    """Fraction of the patients held out for testing; not used with ``folds``."""
    keep_sites: bool = True
    """Never split a site between train, val and test, if the cohort table has a column site.

    Otherwise the model could learn site-specific features in one split and use them in another."""
    tile_ratio: Annotated[float, Limits(above=0, max=1)] = 0.5
    """Fraction of a slide's tiles drawn at random in each training step."""
    max_tiles: Annotated[int, Limits(min=1)] = 1024
    """Maximum number of tiles per slide in a training step."""
    max_tiles_eval: Annotated[int, Limits(min=1)] = 8192
    """Maximum number of tiles per slide in validation, and for fitting ``five``; larger slides are sampled evenly."""
    seed: int = 0
    """Random seed of splits, slide order, tile sampling and initial weights."""


@dataclass(frozen=True)
class TrainSettings(DataSettings, LearningSettings, ModelSettings):
    """All settings of ``five train``."""

    group: ClassVar[str] = ""

    regime: Regime = "pretrain"
    """What to learn from: ``pretrain`` learns from descriptions of reports, ``finetune`` from class texts and labels;
    ``linear-probe`` fits a logistic regression to the slide embeddings of a fixed run."""
    text_weights: Path | None = None
    """Only used with ``text_model=encoder``: weights file of the image encoder, as --weights of `five embed`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            not self.is_baseline or self.regime != "pretrain",
            f"model: {self.model} learns from labels, not from descriptions",
            hint="add --regime finetune",
        )
        require(
            not self.is_baseline or self.regime != "linear-probe",
            f"model: {self.model} cannot be probed, only five-fusion can",
            hint="use --regime finetune",
        )
        require(
            self.text_weights is None or self.text_model == ENCODER_TEXTS,
            "text_weights: only used with the text tower of the encoder",
            hint=f"add --text-model {ENCODER_TEXTS}, or omit --text-weights",
        )
        require(self.shots is None or self.percent is None, "shots and percent: give only one of the two")
        for name, unused in (("shots", None), ("percent", None), ("balance", "none")):
            require(
                getattr(self, name) == unused or self.regime != "pretrain",
                f"{name}: pretrain has no classes",
                hint=f"add --regime finetune, or leave --{name} out",
            )

    def with_text_rate(self, *, is_tuned: bool) -> TrainSettings:
        """Return these settings with the default learning rate of the text side filled in.

        Parameters
        ----------
        is_tuned
            Training starts from a trained run.
        """
        if self.lr_text is not None:
            return self
        return replace(self, lr_text=FINETUNING_TEXT_RATE if is_tuned and self.regime == "finetune" else TEXT_RATE)
