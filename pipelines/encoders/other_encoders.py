"""Presets for encoders outside ``presets.yaml``: timm, transformers, open_clip, TorchScript and Python files."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

from pipelines.core.errors import EncoderError
from pipelines.core.files import file_fingerprint
from pipelines.encoders.hub import read_json
from pipelines.encoders.preset import Preset

TIMM, HF, OPEN_CLIP, TORCHSCRIPT = "timm:", "hf:", "open_clip:", "torchscript:"
"""Prefixes of encoder names."""
RESAMPLING = {2: "bilinear", 3: "bicubic"}
"""Pillow's resampling codes in ``preprocessor_config.json`` -> interpolation modes of torch."""


def other_encoder(name: str) -> Preset | None:
    """Return the preset of the encoder ``name``, or None if the name belongs to none of these sources.

    Raises
    ------
    EncoderError
        The name belongs to one of these sources, but the encoder is missing or cannot be used.
    """
    if name.startswith(TIMM):
        return _timm(name)
    if name.startswith(HF):
        return _transformers(name)
    if name.startswith(OPEN_CLIP):
        from pipelines.encoders.open_clip_models import open_clip_preset  # imports torch, which is slow

        return open_clip_preset(name, name.removeprefix(OPEN_CLIP))
    if name.startswith(TORCHSCRIPT):
        return _torchscript(name, Path(name.removeprefix(TORCHSCRIPT)))
    if name.endswith(".py"):
        from pipelines.encoders.own_encoder import own_preset  # imports torch, which is slow

        return own_preset(Path(name))
    return _torchscript(name, Path(name)) if name.endswith((".pt", ".ts", ".torchscript")) else None


def _timm(name: str) -> Preset:
    import timm

    architecture = name.removeprefix(TIMM)
    try:
        config = timm.get_pretrained_cfg(architecture)
    except RuntimeError:  # timm has the network, but not the weights tag after the dot
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
        license=config.license or "",
        card=f"https://huggingface.co/{config.hf_hub_id}" if config.hf_hub_id else "",
    )


def _transformers(name: str) -> Preset:
    """Read the preset from ``config.json`` and ``preprocessor_config.json`` of a repository or folder."""
    source = name.removeprefix(HF)
    config = read_json(name, source, "config.json", "preprocessor_config.json", "model.safetensors")
    if "auto_map" in config:
        raise EncoderError(
            f"{name}: refused, because it runs Python code from its repository",
            hint="if you trust that code, call it in your own file: --encoder file.py (docs/encoders.md)",
        )
    preprocessing = read_json(name, source, "preprocessor_config.json", "model.safetensors")
    resize, crop = _edge(preprocessing.get("size")), _edge(preprocessing.get("crop_size"))
    if not resize or "image_mean" not in preprocessing:
        raise EncoderError(
            f"{name}: its preprocessor_config.json lacks size or image_mean",
            hint="describe the encoder in your own file: --encoder file.py (docs/encoders.md)",
        )
    from pipelines.encoders.joint_models import PROJECTED, joint_text_preset  # imports torch, which is slow

    text = joint_text_preset(config)
    return Preset(
        name=name,
        architecture=source,
        dim=0,
        builder="hf",
        embedding=PROJECTED if text else "pooled",
        text=text,
        options=config,
        resize=resize,
        input_size=crop if crop and preprocessing.get("do_center_crop") else resize,
        interpolation=RESAMPLING.get(preprocessing.get("resample", 2), "bicubic"),
        mean=tuple(preprocessing["image_mean"]),
        std=tuple(preprocessing["image_std"]),
        hub="" if Path(source).is_dir() else source,
        card=source if Path(source).is_dir() else f"https://huggingface.co/{source}",
    )


def _edge(size: Any) -> int:
    """Return the edge length in pixels from ``{"height": 224, ...}``, ``{"shortest_edge": 224}`` or 224; else 0."""
    if isinstance(size, dict):
        size = size.get("height", size.get("shortest_edge", 0))
    return int(size or 0)


def _torchscript(name: str, path: Path) -> Preset:
    if not path.is_file():
        raise EncoderError(f"{path}: no such file", hint="check --encoder")
    code = file_fingerprint(path)
    return Preset(name=path.name, architecture=str(path), dim=0, builder="torchscript", options={"code": code})
