"""Settings of the model, recorded in every run."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Any, ClassVar, Literal, get_args

from pipelines.core.settings.base import Settings, require
from pipelines.core.settings.fields import Limits, Panel, ProperFraction

Prototype = Literal["prototype", "simpleshot"]
Baseline = Literal["mean", "max", "abmil", "clam-sb", "transmil", "dsmil", Prototype]
ModelName = Literal["five", "five-fusion", Baseline]
FeatureScaling = Literal["standard", "none"]
Positions = Literal["grid", "sequence", "none"]
Padding = Literal["masked", "released"]
SelfAttention = Literal["exact", "linear", "auto"]
TilePooling = Literal["log-mean-exp", "mean"]
ClassTexts = Literal["centred", "plain"]
Tuning = Literal["lora", "frozen"]
TextPooling = Literal["masked", "released"]

BASELINES: tuple[str, ...] = get_args(Baseline)
ENCODER_TEXTS = "encoder"
"""Value of ``text_model`` that selects the text tower of the image encoder."""
PROTOTYPES: tuple[str, ...] = get_args(Prototype)
"""Baselines that compare slides with the mean slide of each class; nothing is trained."""
HEAD_WIDTH = 64
"""Channels per attention head, as in the published network."""
RELEASED = Panel("Only for --preset released")
"""Help panel of the options that are only needed to reproduce the published code."""


@dataclass(frozen=True)
class ModelSettings(Settings):
    """The model. Where FiVE's paper, its released code and good practice differ, a field chooses between them."""

    group: ClassVar[str] = "Model"

    model: ModelName = "five"
    """Model to train: ``five``, whose questions attend to tiles through gates, fitted in closed form;
    ``five-fusion``, the published network, trained by gradient descent; or a baseline that learns from labels only:
    ``mean``, ``max``, ``abmil``, ``clam-sb``, ``transmil`` or ``dsmil``, or, without weights, ``prototype`` or
    ``simpleshot``.

    Of the fields below, ``five`` uses ``feature_scaling``, ``gate_directions`` and ``text_model``, and of the settings
    of learning only ``balance``; baselines use ``width`` and ``feature_scaling``, those without weights only
    ``feature_scaling``."""
    gate_directions: Annotated[int, Limits(min=1)] = 2
    """Number of main directions in which the tiles of a slide differ; each gives ``five`` two gates, one per end."""
    width: Annotated[int, Limits(min=HEAD_WIDTH)] = 512
    """Number of channels of the slide, text and prompt embeddings; a multiple of 64."""
    feature_scaling: FeatureScaling = "standard"
    """Scaling of the features: ``standard`` centers and scales every channel by the statistics of the training slides,
    so that features of any encoder have the same scale; ``none`` (released code) uses them as stored."""
    positions: Positions = "grid"
    """Position encoding of the tiles: ``grid`` (2-D position on the slide), ``sequence`` (row in the feature file, as
    in the released code) or ``none``.

    Both encodings are sines and cosines; that of ``sequence`` is nearly constant."""
    padding: Annotated[Padding, RELEASED] = "masked"
    """Padding in self-attention: ``masked`` attends to real tiles only; ``released`` also attends to a learned pad
    vector, weighted like padding up to ``padded_length`` tiles.

    With ``released``, the slide embedding depends on ``padded_length``."""
    padded_length: Annotated[int, Limits(min=1), RELEASED] = 16384
    """Number of tiles that slides are padded to; only used with ``padding=released``."""
    attention: SelfAttention = "auto"
    """Self-attention between tiles: ``exact`` (cost grows with the square of their number), ``linear`` (approximate,
    linear cost) or ``auto`` (``linear`` for slides with more than 8,192 tiles).

    ``linear`` averages keys and values over 1,024 segments of consecutive tiles. The released code is ``exact``."""
    tile_pooling: TilePooling = "log-mean-exp"
    """Pooling over all tiles, besides the pooling by prompts: ``log-mean-exp`` lies between mean and maximum, so that a
    few tumor tiles still count; ``mean`` is that of the released code."""
    class_texts: ClassTexts = "centred"
    """Class text vectors: ``centred`` subtracts their mean and scales them to unit RMS distance, so that logits depend
    on how classes differ; ``plain`` (released code) uses them unchanged."""
    cross_residual: Annotated[bool, RELEASED] = True
    """Add a residual connection around the prompts' cross-attention, so that prompts learn from the first step."""
    text_model: str = "minilm-l6"
    """Text encoder: ``minilm-l6`` (installed with this package), a Hugging Face name or a folder of any BERT-like
    model; ``encoder``, only for ``five``: the text tower of the image encoder, if it has one, such as keep.

    With ``encoder``, questions attend to tiles by meaning, and what the texts say without training counts as much as
    it agrees with the reports."""
    tuning: Tuning = "lora"
    """How the text model is trained: ``lora`` trains low-rank adapters, ``frozen`` trains only the projection of its
    output."""
    lora_rank: Annotated[int, Limits(min=1)] = 8
    """Rank of the LoRA adapters."""
    lora_alpha: Annotated[int, Limits(min=1)] = 32
    """LoRA alpha: outputs of the adapters are scaled by alpha / rank."""
    lora_dropout: ProperFraction = 0.05
    """Dropout rate before the LoRA adapters."""
    text_dropout: ProperFraction = 0.0
    """Dropout rate inside the text model. Above 0, texts take about a quarter longer to encode on a CPU.

    The released code has 0.1."""
    text_pooling: Annotated[TextPooling, RELEASED] = "masked"
    """Pooling of token vectors: ``masked`` averages a text's own tokens; ``released`` averages ``context_length``
    positions, padding included."""
    context_length: Annotated[int, Limits(min=1), RELEASED] = 308
    """Number of tokens that texts are padded to; only used with ``text_pooling=released``."""
    diagnosis_prompts: Annotated[int, Limits(min=0)] = 16
    """Number of learnable prompts, in addition to one prompt per question."""
    prompt_tokens: Annotated[int, Limits(min=0)] = 16
    """Number of soft tokens per learnable prompt; 0 makes each prompt one free vector that skips the text model.

    The released code has 308."""
    prompt_std: Annotated[float | None, RELEASED] = None
    """Initial standard deviation of the soft tokens. If not set, that of the text model's word embeddings.

    At the released code's 0.01 the prompts start out almost identical."""
    logit_scale: Annotated[float, Limits(above=0)] = 14.3
    """Scale applied to the cosine similarities (inverse temperature); the initial value if ``learn_scale`` is on.

    The released code has 300."""
    learn_scale: Annotated[bool, RELEASED] = True
    """Learn the logit scale, up to 100, instead of keeping it fixed."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.width % HEAD_WIDTH == 0, f"width: {self.width} is not a multiple of {HEAD_WIDTH}")
        require(
            self.text_model != ENCODER_TEXTS or self.model == "five",
            f"text_model: only model five uses the text tower of the encoder, not {self.model}",
            hint="omit --text-model, or use --model five",
        )

    @property
    def is_baseline(self) -> bool:
        """Whether the model learns from labels only and reads no text."""
        return self.model in BASELINES

    @property
    def is_fusion(self) -> bool:
        """Whether the model is the published network."""
        return self.model == "five-fusion"

    @property
    def of_model(self) -> dict[str, Any]:
        """Values of the fields of the model, without those of training."""
        return {field.name: getattr(self, field.name) for field in fields(ModelSettings)}
