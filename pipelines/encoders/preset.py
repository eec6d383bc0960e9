"""The description of an encoder: its networks, which tiles it expects, where its weights are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pipelines.core.files import fingerprint

Triple = tuple[float, float, float]
IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)
MPP_TOLERANCE = 0.1
"""Largest relative difference between the mpp of tiles and of training that still counts as equal.

Scanners differ by this much at the same magnification."""
FINGERPRINT_FIELDS = (
    *("builder", "architecture", "options", "embedding", "resize", "input_size", "interpolation", "mean", "std"),
    *("in_order", "positions"),
)
"""Fields that determine the features, apart from the weights."""
TEXT_FINGERPRINT_FIELDS = ("builder", "options", "tokenizer", "padded")
"""Fields that determine the vectors of texts, apart from the weights."""
LOCATED_BUILDERS = ("hf", "open_clip", "torchscript", "python")
"""Builders whose ``architecture`` is a path or repository; their network is described by ``options`` alone."""


@dataclass(frozen=True)
class TextPreset:
    """Description of the text tower of an encoder whose image features are in a space shared with text.

    Its weights are in the weights file of the image encoder.
    """

    builder: str
    """A key of `pipelines.encoders.text_networks.TEXT_BUILDERS`, or ``python``."""
    context_length: int
    """Largest number of tokens of a text, with the special tokens; 0 if the tokenizer or the network says it."""
    tokenizer: str = "auto"
    """A key of `pipelines.encoders.text_tokenizers.TOKENIZERS`."""
    vocabulary: int = 0
    """Number of tokens that the tokenizer knows; 0 if any number that the network has embeddings for."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the network."""
    padded: bool = False
    """Pad each text to the context length, because padding changes its vector."""
    weights: str = ""
    """Regular expression for the published names of its weights; empty for all."""
    renames: Mapping[str, str] = field(default_factory=dict)
    """Regular expressions for these names -> replacement, giving the names in the network."""
    files_from: str = ""
    """URL of the folder with the tokenizer, if it is not in the hub repository of the weights."""


@dataclass(frozen=True)
class Preset:
    """Description of an image encoder, and of the text tower that shares its space, if there is one."""

    name: str
    architecture: str
    """Depending on ``builder``: a network of timm, a class of transformers, or a file or repository."""
    dim: int
    """Width of a feature vector; 0 if it is known only once the network is built."""
    builder: str = "timm"
    """A key of `pipelines.encoders.networks.BUILDERS`, or ``hf``, ``open_clip``, ``torchscript`` or ``python``."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the network. Layers are given by name, from ``timm.layers`` or `pipelines.encoders.towers`."""
    embedding: str = "pooled"
    """Rule for the feature vector: a key of `pipelines.encoders.embeddings.EMBEDDINGS`."""
    resize: int = 224
    """Edge length that tiles are resized to, pixels."""
    input_size: int = 224
    """Edge length of the center crop (after ``resize``) that the network sees, pixels."""
    interpolation: str = "bicubic"
    """Interpolation for tiles that are not ``resize`` pixels wide."""
    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD
    """``mean`` and ``std`` normalize RGB pixels from 0 to 1."""
    tile_sizes: tuple[int, ...] = ()
    """Tile edge lengths the encoder was trained on, pixels; empty if any works."""
    mpps: tuple[float, ...] = ()
    """Resolutions the encoder was trained at, microns per pixel; empty if any works."""
    hub: str = ""
    """Hugging Face repository with the weights."""
    weights_file: str = "model.safetensors"
    """Name of the weights file in ``hub``."""
    renames: Mapping[str, str] = field(default_factory=dict)
    """Regular expressions for published weight names -> replacement, giving the names in the network."""
    unused: tuple[str, ...] = ()
    """Regular expressions for weight names (after renaming) that the features do not need."""
    in_order: bool = False
    """Match weights by order, because the file uses other names."""
    positions: str = ""
    """How to resize position embeddings to another grid: ``dino``, or empty for timm's way."""
    parameters: float = 0
    """Published size of the image network, in millions of parameters; 0 if unknown."""
    package: str = ""
    """Python package that contains the weights."""
    gated: bool = False
    """The license must be accepted on the hub before downloading."""
    license: str = ""
    card: str = ""
    """URL of the authors' page."""
    paper: str = ""
    read_in: tuple[str, ...] = ()
    """Public repositories whose code these values were taken from."""
    text: TextPreset | None = None
    """The text tower; None if the features are not in a space shared with text."""

    @property
    def weights_source(self) -> str:
        """Short description of where the weights come from, for the list of encoders."""
        if self.package:
            return "packaged"
        return ("gated hub" if self.gated else "hub") if self.hub else "by hand"

    def fingerprint_fields(self) -> dict[str, Any]:
        """Return the fields that determine the features, apart from the weights."""
        fields = asdict(self)
        if self.builder in LOCATED_BUILDERS:
            del fields["architecture"]
        return {name: fields[name] for name in FINGERPRINT_FIELDS if name in fields}

    def space(self, encoder_fingerprint: str) -> str:
        """Return the name of the space shared with text, such as ``keep 1a2b3c4d``; empty without a text tower.

        The digits change with the weights, the preprocessing of images and the text tower.

        Parameters
        ----------
        encoder_fingerprint
            `pipelines.encoders.encoder.Encoder.fingerprint`, which identifies weights and preprocessing of images.
        """
        if self.text is None:
            return ""
        fields = {name: getattr(self.text, name) for name in TEXT_FINGERPRINT_FIELDS}
        name = self.name.rpartition(":")[-1].rpartition("/")[-1]  # a folder may move
        return f"{name} {fingerprint([encoder_fingerprint, fields])[:8]}"

    def mismatches(self, tile_size: int, mpp: float) -> list[str]:
        """Return one sentence per difference between such tiles and those the encoder was trained on."""
        differences = []
        if self.tile_sizes and tile_size not in self.tile_sizes:
            differences.append(
                f"tiles are {tile_size} px wide, it was trained for {_joined_with_or(self.tile_sizes)} px"
            )
        if self.mpps and not any(abs(mpp / known - 1) <= MPP_TOLERANCE for known in self.mpps):
            differences.append(f"tiles have {mpp:g} microns per pixel, it was trained at {_joined_with_or(self.mpps)}")
        return differences


def _joined_with_or(values: tuple[float, ...]) -> str:
    """Return ``224 or 256`` for ``(224, 256)``."""
    return " or ".join(f"{value:g}" for value in values)
