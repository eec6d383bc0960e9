"""Encoders that are not in the table: of timm, of transformers, a TorchScript file, a Python file."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any

from pipelines.core.errors import EncoderError
from pipelines.core.files import file_fingerprint
from pipelines.encoders.hub import hub_file
from pipelines.encoders.preset import Preset

TIMM, HF, SCRIPT = "timm:", "hf:", "torchscript:"
RESAMPLING = {2: "bilinear", 3: "bicubic"}
"""Pillow's numbers of the ways to resize, as ``preprocessor_config.json`` has them; torch has no others."""


def other_encoder(name: str) -> Preset | None:
    """Return the facts of the encoder ``name``, None where it is none of these kinds.

    Raises
    ------
    EncoderError
        It is of such a kind, but is not there or cannot be used.
    """
    if name.startswith(TIMM):
        return _timm(name)
    if name.startswith(HF):
        return _transformers(name)
    if name.startswith(SCRIPT):
        return _script(name, Path(name.removeprefix(SCRIPT)))
    if name.endswith(".py"):
        from pipelines.encoders.own_encoder import own_preset

        return own_preset(Path(name))
    return _script(name, Path(name)) if name.endswith((".pt", ".ts", ".torchscript")) else None


def _timm(name: str) -> Preset:
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
        card=f"https://huggingface.co/{config.hf_hub_id}" if config.hf_hub_id else "",
    )


def _transformers(name: str) -> Preset:
    """Return what ``config.json`` and ``preprocessor_config.json`` of a repository or folder say."""
    source = name.removeprefix(HF)
    config = _json(name, source, "config.json")
    if "auto_map" in config:
        raise EncoderError(
            f"{name}: refused, it needs Python code from its repository",
            hint="if you trust that code, call it from your own file: --encoder file.py (docs/encoders.md)",
        )
    facts = _json(name, source, "preprocessor_config.json")
    resize, crop = _edge(facts.get("size")), _edge(facts.get("crop_size"))
    if not resize or "image_mean" not in facts:
        raise EncoderError(
            f"{name}: its preprocessor_config.json has no size or no image_mean",
            hint="describe the encoder in your own file: --encoder file.py (docs/encoders.md)",
        )
    return Preset(
        name=name,
        architecture=source,
        dim=0,
        builder="hf",
        options=config,
        resize=resize,
        input_size=crop if crop and facts.get("do_center_crop") else resize,
        interpolation=RESAMPLING.get(facts.get("resample", 2), "bicubic"),
        mean=tuple(facts["image_mean"]),
        std=tuple(facts["image_std"]),
        hub="" if Path(source).is_dir() else source,
        card=source if Path(source).is_dir() else f"https://huggingface.co/{source}",
    )


def _json(name: str, source: str, filename: str) -> dict[str, Any]:
    path = Path(source) / filename if Path(source).is_dir() else hub_file(name, source, filename)
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EncoderError(f"{path}: not a readable JSON file", hint="fetch the repository again") from error
    return found


def _edge(size: Any) -> int:
    """Return the edge in pixels that ``{"height": 224, ...}``, ``{"shortest_edge": 224}`` or 224 tell, else 0."""
    if isinstance(size, dict):
        size = size.get("height", size.get("shortest_edge", 0))
    return int(size or 0)


def _script(name: str, path: Path) -> Preset:
    if not path.is_file():
        raise EncoderError(f"{path}: no such file", hint="check --encoder")
    code = file_fingerprint(path)
    return Preset(name=path.name, architecture=str(path), dim=0, builder="torchscript", options={"code": code})
