"""What is known of an image encoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

Triple = tuple[float, float, float]
IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)
MPP_TOLERANCE = 0.1
"""Relative difference of mpp that scanners of one magnification have among themselves."""
RECIPE = (
    *("builder", "architecture", "options", "embedding", "resize", "input_size", "interpolation", "mean", "std"),
    *("in_order", "positions"),
)
"""Facts that decide the features, apart from the weights."""
PLACES = ("hf", "torchscript", "python")
"""Builders whose ``architecture`` only says where it lies; what it is, ``options`` say."""


@dataclass(frozen=True)
class Preset:
    """What is known of an image encoder."""

    name: str
    architecture: str
    """Name of the network in timm, of the class in transformers, or a file or repository (by ``builder``)."""
    dim: int
    """Width of a feature vector; 0 where only the network knows it."""
    builder: str = "timm"
    """What builds the network: one of `pipelines.encoders.networks.BUILDERS`."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the network; layers by their name in ``timm.layers`` or `pipelines.encoders.towers`."""
    embedding: str = "pooled"
    """What a feature vector is: one of `pipelines.encoders.embeddings.EMBEDDINGS`."""
    resize: int = 224
    """Edge that tiles are resized to, pixels."""
    input_size: int = 224
    """Edge of the centre crop (after ``resize``) that the network sees, pixels."""
    interpolation: str = "bicubic"
    """Used where a tile is not ``resize`` pixels wide."""
    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD
    """Mean and standard deviation that pixels (0 to 1) are normalised with."""
    tile_sizes: tuple[int, ...] = ()
    """Edges of the tiles it was trained for, pixels; empty where any will do."""
    mpps: tuple[float, ...] = ()
    """Resolutions it was trained at, microns per pixel; empty for an encoder of everyday pictures."""
    hub: str = ""
    """Hugging Face repository of the weights."""
    weights_file: str = "model.safetensors"
    """Name of the file in ``hub``."""
    renames: Mapping[str, str] = field(default_factory=dict)
    """Patterns in the published names of weights, and what each becomes in the network."""
    unused: tuple[str, ...] = ()
    """Patterns of the published names, after renaming, that the features do not need."""
    in_order: bool = False
    """True where the weights are told by their order, under other names."""
    positions: str = ""
    """How position embeddings of another grid are resized: ``dino``, or as timm does."""
    parameters: float = 0
    """Millions of parameters of the image network, as published; 0 where that is not known."""
    package: str = ""
    """Python package that the weights come with."""
    gated: bool = False
    """True where the licence must be accepted on the hub before downloading."""
    licence: str = ""
    card: str = ""
    """The authors' page."""
    paper: str = ""
    read_in: tuple[str, ...] = ()
    """Public repositories in whose code these facts were read."""

    @property
    def weights_are(self) -> str:
        """Where the weights come from, in a word or two."""
        if self.package:
            return "packaged"
        return ("gated hub" if self.gated else "hub") if self.hub else "by hand"

    def recipe(self) -> dict[str, Any]:
        """Return what decides the features, apart from the weights."""
        everything = asdict(self)
        if self.builder in PLACES:
            del everything["architecture"]
        return {name: everything[name] for name in RECIPE if name in everything}

    def mismatches(self, tile_size: int, mpp: float) -> list[str]:
        """Return in what way tiles differ from those the encoder was trained for."""
        found = []
        if self.tile_sizes and tile_size not in self.tile_sizes:
            found.append(f"tiles are {tile_size} px wide, it was trained for {either(self.tile_sizes)} px")
        if self.mpps and not any(abs(mpp / known - 1) <= MPP_TOLERANCE for known in self.mpps):
            found.append(f"tiles have {mpp:g} microns per pixel, it was trained at {either(self.mpps)}")
        return found


def either(values: tuple[float, ...]) -> str:
    """Return ``224 or 256`` for ``(224, 256)``."""
    return " or ".join(f"{value:g}" for value in values)
