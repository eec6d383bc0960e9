"""Backend ``local`` with ``--model``: a language model in this process, whose output must follow the schema.

It runs through transformers and serves to try out the language-model path without a server or a
GPU. The packaged model has 135 million parameters and answers worse than the ``rules`` backend.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pipelines.core.devices import pick_device
from pipelines.core.errors import BackendError
from pipelines.core.questions import QuestionSet
from pipelines.core.settings import DescribeReportsSettings
from pipelines.reports.backends.base import CUT_OFF, Reply, Request, Sampling, too_long_reply
from pipelines.reports.backends.smollm2 import NAME as PACKAGED
from pipelines.reports.backends.smollm2 import packaged_folder
from pipelines.reports.reply_schema import reply_schema

COMPACT = {"whitespace_flexible": False, "item_separator": ",", "key_separator": ":"}
"""JSON without white space, to save tokens."""


class LocalBackend:
    """Answers one report at a time with a causal language model."""

    deterministic = False
    batch_size = 1
    facts: Mapping[str, str] = MappingProxyType({})

    def __init__(self, questions: QuestionSet, settings: DescribeReportsSettings, *, device: str = "auto") -> None:
        guidance = _llguidance()
        folder = packaged_folder() if settings.model == PACKAGED else Path(settings.model)
        if not (folder / "config.json").is_file():
            raise BackendError(
                f"{folder}: no language model in this folder",
                hint=f"give a folder in Hugging Face format with config.json, or {PACKAGED} for the packaged model",
            )
        self.model = settings.model
        self.max_tokens = settings.max_tokens
        self.sampling = Sampling(settings.temperature, settings.seed)
        self._tokenizer, model = _load(folder)
        self._device = pick_device(device)
        self._model = model.to(self._device).eval()
        self.context = int(self._model.config.max_position_embeddings)
        schema = {**reply_schema(questions), "x-guidance": COMPACT}
        self._grammar = guidance.LLMatcher.grammar_from_json_schema(json.dumps(schema))
        self._vocabulary = guidance.hf.from_tokenizer(self._tokenizer, n_vocab=self._model.config.vocab_size)

    def complete(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply]]:
        """Yield the reply to each request in order."""
        for index, request in enumerate(requests):
            yield index, self._ask(request)

    def count_tokens(self, request: Request) -> int:
        """Return the number of tokens of the conversation."""
        return len(self._encode(request))

    def _encode(self, request: Request) -> list[int]:
        tokens: list[int] = self._tokenizer.apply_chat_template(
            request.messages, add_generation_prompt=True, return_dict=False
        )
        return tokens

    def _ask(self, request: Request) -> Reply:
        import torch
        from transformers import LogitsProcessorList

        started = time.perf_counter()
        prompt = self._encode(request)
        room = self.context - self.max_tokens
        if len(prompt) > room:
            return too_long_reply(len(prompt), room)
        ids = torch.tensor([prompt], device=self._device)
        sampling = request.sampling or self.sampling
        randomness = {"do_sample": True, "temperature": sampling.temperature} if sampling.temperature else {}
        torch.manual_seed(sampling.seed)
        with torch.inference_mode():
            output = self._model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=self.max_tokens,
                pad_token_id=self._tokenizer.eos_token_id,
                logits_processor=LogitsProcessorList([_Constraint(self._vocabulary, self._grammar, len(prompt))]),
                **{"do_sample": False, **randomness},
            )
        generated = output[0, len(prompt) :].tolist()
        reply = Reply(prompt_tokens=len(prompt), output_tokens=len(generated), seconds=time.perf_counter() - started)
        if generated[-1] != self._tokenizer.eos_token_id:
            return replace(reply, error=CUT_OFF)
        return replace(reply, text=self._tokenizer.decode(generated, skip_special_tokens=True))


class _Constraint:
    """A logits processor that allows only the next tokens of the grammar."""

    def __init__(self, vocabulary: Any, grammar: str, prompt_length: int) -> None:
        import llguidance
        import llguidance.torch

        self._masks = llguidance.torch
        self._matcher = llguidance.LLMatcher(vocabulary, grammar)
        self._n_consumed = prompt_length
        self._mask = self._masks.allocate_token_bitmask(1, vocabulary.vocab_size)

    def __call__(self, ids: Any, logits: Any) -> Any:
        for token in ids[0, self._n_consumed :].tolist():
            self._matcher.consume_token(token)
        self._n_consumed = ids.shape[1]
        self._masks.fill_next_token_bitmask(self._matcher, self._mask, 0)
        self._masks.apply_token_bitmask_inplace(logits, self._mask.to(logits.device))
        return logits


def _load(folder: Path) -> tuple[Any, Any]:
    """Return the tokenizer and the language model of a folder."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise BackendError(
            f"{folder}: transformers cannot load this language model ({type(error).__name__})",
            hint="use a model that transformers knows; Python code that comes with a model is not run",
        ) from error
    return tokenizer, model


def _llguidance() -> Any:
    try:
        import llguidance
        import llguidance.hf
    except ImportError as error:
        raise BackendError(
            "backend local: the package llguidance is not installed", hint="pip install 'five-wsi[local]'"
        ) from error
    return llguidance
