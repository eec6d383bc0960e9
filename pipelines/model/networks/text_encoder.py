"""The text encoder: a BERT-like model with LoRA adapters, pooling over layers and tokens, and a projection."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pipelines.core.errors import EncoderError
from pipelines.core.settings.model import ModelSettings
from pipelines.core.text_models import PACKAGED, load_text_model, mean_of_tokens

LAYERS = (1, 2, -1)
"""Layers (first, second, last) whose hidden states are averaged, as in the published code."""
BATCH_SIZE = 32
"""Texts per pass through the text model."""
CACHED_TEXTS = 50_000
"""Maximum number of texts whose vectors a frozen model caches (150 MB for 768 channels); the oldest are dropped."""


class TextEncoder(nn.Module):
    """Encode texts as vectors of the model's width.

    M texts, L tokens, W channels of the text model, D channels of the model.

    Raises
    ------
    EncoderError
        The text model cannot be loaded.
    """

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.name = settings.text_model
        self.frozen = settings.tuning == "frozen"
        self.padded_to = settings.context_length if settings.text_pooling == "released" else None
        self.model, self.tokenizer = _load(settings)
        self.fingerprint = _weights_fingerprint(self.model)
        self.model.requires_grad_(requires_grad=False)
        if not self.frozen:
            _add_adapters(self.model, settings)
        adapters = {name for name, weight in self.model.named_parameters() if weight.requires_grad}
        self.pretrained_names = {f"model.{name}" for name in self.model.state_dict() if name not in adapters}
        self.projection = nn.Linear(self.model.config.hidden_size, settings.width, bias=False)
        self._pooled: dict[str, Tensor] = {}

    @property
    def limit(self) -> int:
        """Maximum number of tokens of a text, including the two special tokens."""
        return int(min(self.model.config.max_position_embeddings, self.tokenizer.model_max_length))

    @property
    def word_std(self) -> float:
        """Standard deviation of the text model's word embeddings."""
        return float(self.model.get_input_embeddings().weight.std())

    def freeze(self) -> None:
        """Freeze the text model, adapters and projection; each text is then encoded only once."""
        self.requires_grad_(requires_grad=False)
        self.frozen = True

    def train(self, mode: bool = True) -> TextEncoder:  # noqa: FBT001 - the signature of nn.Module
        """Set training mode; a frozen text model stays in evaluation mode, without dropout."""
        super().train(mode)
        if self.frozen:
            self.model.eval()
        return self

    @property
    def width(self) -> int:
        """W, channels of the text model."""
        return int(self.model.config.hidden_size)

    def forward(self, texts: Sequence[str]) -> Tensor:
        """Return one vector per text, (M, D), not L2-normalized."""
        vectors: Tensor = self.projection(self.pooled(texts))
        return vectors

    def pooled(self, texts: Sequence[str]) -> Tensor:
        """Return one vector per text before the projection, (M, W).

        A frozen model caches the vectors. Otherwise equal texts are encoded separately, so merge
        them first. Texts of similar length are batched together, to reduce padding.
        """
        distinct = [text for text in texts if text not in self._pooled] if self.frozen else list(texts)
        order = sorted(range(len(distinct)), key=lambda index: len(distinct[index]))
        batches = [order[start : start + BATCH_SIZE] for start in range(0, len(order), BATCH_SIZE)]
        pooled: dict[int, Tensor] = {}
        for members in batches:
            with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
                pooled.update(zip(members, self._encode([distinct[index] for index in members]), strict=True))
        if self.frozen:
            self._pooled.update({distinct[index]: vector for index, vector in pooled.items()})
            rows = [self._pooled[text] for text in texts]
            for text in list(self._pooled)[: max(0, len(self._pooled) - CACHED_TEXTS)]:
                del self._pooled[text]
        else:
            rows = [pooled[index] for index in range(len(distinct))]
        return torch.stack(rows)

    def encode_embeddings(self, embeddings: Tensor) -> Tensor:
        """Return the vectors, (M, D), of soft tokens (M, L, W) that replace the word embeddings."""
        mask = torch.ones(embeddings.shape[:2], dtype=torch.long, device=embeddings.device)
        states = self.model(inputs_embeds=embeddings, attention_mask=mask, output_hidden_states=True)
        vectors: Tensor = self.projection(_pool(states.hidden_states, mask))
        return vectors

    def count_truncated(self, texts: Sequence[str]) -> int:
        """Return how many texts are longer than the token limit; they are truncated when encoded."""
        limit = self.padded_to or self.limit
        return sum(len(ids) > limit for ids in self.tokenizer(list(texts))["input_ids"]) if texts else 0

    def _encode(self, texts: list[str]) -> Tensor:
        tokens = self.tokenizer(
            texts,
            padding="max_length" if self.padded_to else True,
            truncation=True,
            max_length=self.padded_to or self.limit,
            return_tensors="pt",
        ).to(self.projection.weight.device)
        states = self.model(**tokens, output_hidden_states=True)
        mask = torch.ones_like(tokens["attention_mask"]) if self.padded_to else tokens["attention_mask"]
        return _pool(states.hidden_states, mask)


def _pool(states: Sequence[Tensor], mask: Tensor) -> Tensor:
    """Return the mean over `LAYERS` and the tokens in ``mask`` (M, L), (M, W)."""
    tokens = torch.stack([states[layer] for layer in LAYERS]).mean(dim=0)  # (M, L, W)
    return mean_of_tokens(tokens, mask)


def _load(settings: ModelSettings) -> tuple[Any, Any]:
    try:
        model, tokenizer = load_text_model(settings.text_model, dropout=settings.text_dropout)
    except (OSError, ValueError) as error:
        raise EncoderError(
            f"text model {settings.text_model!r}: cannot be loaded ({type(error).__name__})",
            hint=f"use {PACKAGED}, a folder with config.json, weights and tokenizer, or a Hugging Face model name",
        ) from error
    _refuse_unsuitable(settings.text_model, model, tokenizer)
    if model.config.num_hidden_layers < len(LAYERS) - 1:
        raise EncoderError(
            f"text model {settings.text_model!r}: has fewer than two layers", hint="use a text model with at least two"
        )
    if hasattr(model, "pooler"):
        model.pooler = None  # its output is unused, so an adapter on it would get no gradient
    return model, tokenizer


def _refuse_unsuitable(name: str, model: Any, tokenizer: Any) -> None:
    """Raise `EncoderError` for models of images, of images and texts, with a decoder, or without a vocabulary."""
    needed = ("num_hidden_layers", "hidden_size", "max_position_embeddings")
    if model.main_input_name != "input_ids" or not all(hasattr(model.config, attribute) for attribute in needed):
        raise EncoderError(
            f"text model {name!r}: it is a {type(model).__name__}, not a BERT-like text model",
            hint=f"use {PACKAGED} or another BERT-like model; a model of images and texts, such as CLIP, is an encoder "
            "of `five embed` (--encoder hf:NAME)",
        )
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise EncoderError(
            f"text model {name!r}: its tokenizer knows no words", hint="add the tokenizer's files to its folder"
        )


def _add_adapters(model: Any, settings: ModelSettings) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    adapters = LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules="all-linear",  # for BERT: query, key, value and the three dense layers, as published
    )
    inject_adapter_in_model(adapters, model)


def _weights_fingerprint(model: nn.Module) -> str:
    """Return a hash (16 hexadecimal digits) of the names, the shapes and a sample of the values of all weights."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        digest.update(f"{name}{tuple(weight.shape)}".encode())
        if weight.is_floating_point():
            flat = weight.detach().flatten()
            digest.update(flat[:: max(1, flat.numel() // 512)].float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
