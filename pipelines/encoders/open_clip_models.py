"""Models of open_clip: image-text models by ``open_clip:``, such as BiomedCLIP; an optional dependency."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from pipelines.core.errors import EncoderError
from pipelines.encoders.hub import hub_file, read_json
from pipelines.encoders.joint_models import PROJECTED, raise_misfit
from pipelines.encoders.preset import Preset, TextPreset, Triple
from pipelines.encoders.text_tokenizers import Tokenizer, load_tokenizer
from pipelines.encoders.weights import OPEN_CLIP_WEIGHTS, State

HUB = "hf-hub:"
MEAN: Triple = (0.48145466, 0.4578275, 0.40821073)
STD: Triple = (0.26862954, 0.26130258, 0.27577711)
"""Normalization of OpenAI's CLIP, open_clip's default."""
UNKNOWN_LENGTH = 77
"""Context length of text configurations that state none."""


def open_clip_preset(name: str, source: str) -> Preset:
    """Return the preset of ``open_clip:FOLDER``, ``open_clip:hf-hub:REPOSITORY`` or ``open_clip:NAME/TAG``.

    Raises
    ------
    EncoderError
        open_clip is not installed or does not know the model, or a file is missing.
    """
    if importlib.util.find_spec("open_clip") is None:
        raise EncoderError(f"{name}: needs the package open_clip_torch", hint="pip install 'five-wsi[open-clip]'")
    if source.startswith(HUB) or Path(source).is_dir():
        source = source.removeprefix(HUB)
        content = read_json(name, source, "open_clip_config.json", OPEN_CLIP_WEIGHTS[0])
        model, pixels = content.get("model_cfg"), content.get("preprocess_cfg", {})
        hub = "" if Path(source).is_dir() else source
    else:
        model, pixels, hub = _built_in(name, source)
    if not isinstance(model, dict) or not {"embed_dim", "vision_cfg", "text_cfg"} <= model.keys():
        raise EncoderError(f"{name}: its open_clip_config.json does not describe a model", hint="download it again")
    size = model["vision_cfg"].get("image_size", 224)
    size = int(size[0] if isinstance(size, list) else size)
    return Preset(
        name=name,
        architecture=source,
        dim=int(model["embed_dim"]),
        builder="open_clip",
        embedding=PROJECTED,
        options=model,
        resize=size,
        input_size=size,
        interpolation=pixels.get("interpolation", "bicubic"),
        mean=tuple(pixels.get("mean", MEAN)),
        std=tuple(pixels.get("std", STD)),
        hub=hub,
        weights_file=OPEN_CLIP_WEIGHTS[0],
        card=f"https://huggingface.co/{hub}" if hub else source,
        text=_text_preset(name, model["text_cfg"]),
    )


def _built_in(name: str, source: str) -> tuple[dict[str, Any] | None, Mapping[str, Any], str]:
    """Return the configurations of a model that open_clip knows by name, and the hub repository of its tag."""
    import open_clip

    architecture, _, tag = source.partition("/")
    model = open_clip.get_model_config(architecture)
    if model is None:
        raise EncoderError(f"{name}: open_clip has no model {architecture}", hint="see open_clip.list_models()")
    known = open_clip.pretrained.get_pretrained_cfg(architecture, tag) if tag else {}
    if tag and not known:
        tags = ", ".join(open_clip.pretrained.list_pretrained_tags_by_model(architecture)) or "none"
        raise EncoderError(f"{name}: open_clip has no weights {tag}", hint=f"weights of {architecture}: {tags}")
    return model, known, known.get("hf_hub", "").strip("/")


def _text_preset(name: str, text: Mapping[str, Any]) -> TextPreset:
    arguments = text.get("tokenizer_kwargs", {})
    unusual = [key for key in ("strip_sep_token", "reduction_mask") if arguments.get(key)]
    if text.get("tokenizer_mode") or unusual:
        raise EncoderError(
            f"{name}: a tokenizer with {(unusual or ['tokenizer_mode'])[0]} is not supported",
            hint="describe the encoder in your own file: --encoder file.py (docs/encoders.md)",
        )
    has_own = bool(text.get("hf_tokenizer_name"))
    return TextPreset(
        builder="open_clip",
        context_length=int(text.get("context_length", UNKNOWN_LENGTH)),
        tokenizer="auto" if has_own else "open_clip",
        padded=True,  # open_clip's networks take texts of the full context
        options={"hub": text.get("hf_tokenizer_name", ""), "arguments": arguments},
    )


def load_open_clip(preset: Preset, state: State, path: Path, tower: str) -> Any:
    """Return the model with the weights of one tower, ``image`` or ``text``; those of the other one may be missing.

    Raises
    ------
    EncoderError
        The weights do not fit the tower.
    """
    import open_clip
    from open_clip.model import convert_to_custom_text_state_dict

    model = _untrained(preset)
    if not isinstance(model, open_clip.CLIP):
        state = convert_to_custom_text_state_dict(state)
    state = {name: value for name, value in state.items() if not name.endswith("position_ids")}
    expected, wanted = model.state_dict(), tower == "image"
    names = {name for name in expected if name.startswith("visual.") == wanted and name != "logit_bias"}
    raise_misfit(
        preset,
        path,
        {
            "missing": names - state.keys() - {"logit_scale"} - _unsaved(names),
            "of another shape": {
                name for name in names & state.keys() if state[name].numel() != expected[name].numel()
            },
        },
    )
    model.load_state_dict(
        {name: state[name].reshape(expected[name].shape) for name in names & state.keys()}, strict=False
    )
    return model.float()


def _unsaved(names: set[str]) -> set[str]:
    """Return the buffers of transformers that old files lack."""
    return {name for name in names if name.endswith(("position_ids", "token_type_ids"))}


def _untrained(preset: Preset) -> Any:
    """Return the model of a configuration, without downloading the weights that its parts were initialized with."""
    import open_clip

    model = {name: dict(value) if isinstance(value, Mapping) else value for name, value in preset.options.items()}
    custom = model.pop("custom_text", False)
    text, vision = model["text_cfg"], model["vision_cfg"]
    if "timm_model_name" in vision:
        vision["timm_model_pretrained"] = False
    if "hf_model_name" in text:  # its configuration is in another repository
        custom, text["hf_model_pretrained"] = True, False
        if not Path(text["hf_model_name"]).is_dir():
            text["hf_model_name"] = str(hub_file(preset.name, text["hf_model_name"], "config.json").parent)
    kind = open_clip.CoCa if "multimodal_cfg" in model else open_clip.CustomTextCLIP if custom else open_clip.CLIP
    try:
        return kind(**model)
    except (TypeError, ValueError, RuntimeError, KeyError, OSError) as error:
        raise EncoderError(
            f"{preset.name}: open_clip {open_clip.__version__} cannot build this model ({type(error).__name__})",
            hint="install a newer version, or describe the encoder in your own file: --encoder file.py",
        ) from error


class OpenClipImage(nn.Module):
    """The image tower of a model of open_clip."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the projected features (B, D) for ``pixels`` (B, 3, S, S), not L2-normalized."""
        features: Tensor = self.model.encode_image(pixels, normalize=False)
        return features


class OpenClipText(nn.Module):
    """The text tower of a model of open_clip."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return (M, D) for token ids (M, L) padded to the context."""
        vectors: Tensor = self.model.encode_text(ids, normalize=False)
        return vectors


def open_clip_tokenizer(preset: Preset, text: TextPreset, path: Path) -> Tokenizer:
    """Return the tokenizer of a model of open_clip; texts are cleaned as open_clip does."""
    from open_clip.tokenizer import SimpleTokenizer, get_clean_fn

    arguments = dict(text.options["arguments"])
    if text.tokenizer == "open_clip":
        simple = SimpleTokenizer(context_length=text.context_length, **arguments)
        start, end = simple.sot_token_id, simple.eot_token_id
        return Tokenizer(lambda texts: [[start, *simple.encode(each), end] for each in texts], 0, simple.vocab_size)
    clean = get_clean_fn(arguments.get("clean", "whitespace"))
    backend = load_tokenizer(replace(preset, hub=text.options["hub"]), text, path)
    return replace(backend, ids=lambda texts: backend.ids([clean(each) for each in texts]))
