"""Build the network of a text tower and load its weights from the file of the image encoder."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipelines.core.errors import EncoderError
from pipelines.encoders.joint_models import JointTextTower, load_joint_model, model_from_state, raise_misfit
from pipelines.encoders.open_clip_models import OpenClipText, load_open_clip, open_clip_tokenizer
from pipelines.encoders.preset import Preset, TextPreset
from pipelines.encoders.text_layers import ConchText, MuskText
from pipelines.encoders.text_tokenizers import TOKENIZERS, Tokenizer, find_tokenizer_files, load_tokenizer
from pipelines.encoders.weights import State, find_weights, fit_weights, misfit_error, read_weights, rename_weights


@dataclass(frozen=True)
class TokenModel:
    """A tokenizer and a network that turns token ids into vectors.

    M texts, L tokens, D channels of the shared space.
    """

    tokenizer: Tokenizer
    network: nn.Module
    """Called with ids (M, L) and a mask (M, L), True for tokens of the text; returns (M, D)."""
    context_length: int
    padded: bool
    """Pad texts to the context length."""
    logit_scale: float
    device: str

    def n_tokens(self, texts: list[str]) -> list[int]:
        """Return the number of tokens of each text, with the special tokens."""
        return [len(ids) for ids in self.tokenizer.ids(texts)]

    def encode(self, texts: list[str]) -> Tensor:
        """Return the vectors (M, D) of texts that fit, not L2-normalized."""
        ids = self.tokenizer.ids(texts)
        length = self.context_length if self.padded else max(map(len, ids))
        padded = [each + [self.tokenizer.pad_id] * (length - len(each)) for each in ids]
        mask = [[place < len(each) for place in range(length)] for each in ids]
        device = torch.device(self.device)
        vectors: Tensor = self.network(torch.tensor(padded, device=device), torch.tensor(mask, device=device))
        return vectors


def load_token_model(preset: Preset, text: TextPreset, weights: Path | None, device: str) -> TokenModel:
    """Return the text tower ``text`` of ``preset``, with its weights and its tokenizer.

    Raises
    ------
    EncoderError
        Weights or tokenizer are missing, damaged or of another encoder. The message names all missing files.
    """
    path = _find_weights(preset, text, weights)
    load = open_clip_tokenizer if text.builder == "open_clip" else load_tokenizer
    tokenizer = load(preset, text, path)
    state = read_weights(path)
    network = load_text_network(preset, text, state, path).eval().to(device)
    if _n_embeddings(network) < tokenizer.size and text.tokenizer != "musk":
        problem = f"its tokenizer knows {tokenizer.size:,} tokens, but the network {_n_embeddings(network):,}"
        raise misfit_error(_named(preset), path, problem)
    limits = [limit for limit in (text.context_length, tokenizer.limit) if limit > 0]
    scale = _logit_scale(preset, state, path)
    return TokenModel(tokenizer, network, min(limits), text.padded, scale, device)


def _find_weights(preset: Preset, text: TextPreset, weights: Path | None) -> Path:
    """Return the weights file. If it is missing, the error also names the files of the tokenizer that are missing."""
    missing = () if find_tokenizer_files(preset, text, weights) else TOKENIZERS[text.tokenizer].files[0]
    try:
        return find_weights(preset, weights, () if text.files_from else missing)
    except EncoderError as error:
        if not (text.files_from and missing):
            raise
        named = " and ".join(missing)
        raise EncoderError(
            f"{error}; its tokenizer {named} is missing too",
            hint=f"{error.hint}; get {named} from {text.files_from} and put it into the folder of the weights file",
        ) from error


def load_text_network(preset: Preset, text: TextPreset, state: State, path: Path) -> nn.Module:
    """Return the network of the text tower with its part of the weights ``state``, which were read from ``path``.

    Raises
    ------
    EncoderError
        The weights do not fit, for example because the file has only the image tower.
    """
    whole = replace(preset, renames={}, unused=())
    if text.builder == "open_clip":
        return OpenClipText(load_open_clip(_named(whole), rename_weights(state, whole), path, "text"))
    if text.builder == "hf":
        model = load_joint_model(_named(whole), rename_weights(state, whole), path, "text")
        return JointTextTower(model, padded=text.padded)
    used = re.compile(text.weights)
    part = {name: value for name, value in rename_weights(state, whole).items() if used.match(name)}
    if not part:
        raise misfit_error(_named(preset), path, "the file has only the image tower")
    named = replace(_named(whole), renames=text.renames)
    return TEXT_BUILDERS[text.builder](named, text, rename_weights(part, named), path)


def _named(preset: Preset) -> Preset:
    return replace(preset, name=f"the text tower of {preset.name}", architecture=preset.name)


def _own_layers(tower: type[nn.Module]) -> Callable[[Preset, TextPreset, State, Path], nn.Module]:
    def load(preset: Preset, text: TextPreset, state: State, path: Path) -> nn.Module:
        with torch.device("meta"):  # skips random initialization
            network = tower(**text.options)
        fit_weights(network, state, preset, path)
        return network

    return load


def _transformers(class_name: str, output: str, ignored: str) -> Callable[[Preset, TextPreset, State, Path], nn.Module]:
    """Return a loader of a text model of transformers whose vector is ``output``; weights ``ignored`` may differ."""

    def load(preset: Preset, text: TextPreset, state: State, path: Path) -> nn.Module:
        import transformers

        model_class = getattr(transformers, class_name)
        model, info = model_from_state(model_class, model_class.config_class(**text.options), state, preset, path)
        missing, left_over = (
            {name for name in info[key] if not re.search(ignored, name)} for key in ("missing_keys", "unexpected_keys")
        )
        raise_misfit(
            preset, path, {"missing": missing, "of another shape": info["mismatched_keys"], "left over": left_over}
        )
        return _TransformersText(model.float(), output)

    return load


class _TransformersText(nn.Module):
    def __init__(self, model: Any, output: str) -> None:
        super().__init__()
        self.model, self.output = model, output

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        vectors: Tensor = getattr(self.model(input_ids=ids, attention_mask=mask.long()), self.output)
        return vectors


TEXT_BUILDERS: Mapping[str, Callable[[Preset, TextPreset, State, Path], nn.Module]] = {
    "bert": _transformers("BertModel", "pooler_output", "position_ids"),
    "clip": _transformers("CLIPTextModelWithProjection", "text_embeds", "position_ids"),
    "conch": _own_layers(ConchText),
    "musk": _own_layers(MuskText),
}
"""`TextPreset.builder` -> function that loads the network. ``hf`` and ``python`` are missing: they are no presets."""


def _n_embeddings(network: nn.Module) -> int:
    return max(layer.num_embeddings for layer in network.modules() if isinstance(layer, nn.Embedding))


def _logit_scale(preset: Preset, state: State, path: Path) -> float:
    """Return the factor of cosines that the encoder learned; the file has its logarithm."""
    for name, value in state.items():
        if name.rpartition(".")[-1] == "logit_scale" and value.numel() == 1:
            return float(value.float().exp())
    raise misfit_error(_named(preset), path, "the weight logit_scale is missing")
