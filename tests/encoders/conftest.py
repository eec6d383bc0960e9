from dataclasses import replace

import pytest
import torch
from transformers import BertConfig, BertModel

from tests.encoders import published_layouts as published
from tests.encoders.small_tokenizers import BERT_WORDS, write_bert_tokenizer, write_conch_tokenizer
from tests.encoders.small_towers import LOGIT_SCALE, TINY, saved, small


@pytest.fixture
def conch(tmp_path):
    """Return a small CONCH and its weights file, with the tokenizer beside it."""
    write_conch_tokenizer(tmp_path)
    preset = small("conch-joint", context_length=11)
    options = {"vocab_size": 13, "width": 24, "heads": 2, "layers": 2, "dim": 16, "length": 12}
    preset = replace(preset, text=replace(preset.text, options=options))
    return preset, saved(tmp_path, {**published.conch(), **published.conch_text(), **LOGIT_SCALE})


@pytest.fixture
def keep(tmp_path):
    """Return a small KEEP, its weights file with the tokenizer beside it, and its text tower."""
    torch.manual_seed(0)
    options = {**TINY, "vocab_size": len(BERT_WORDS), "max_position_embeddings": 16}
    bert = BertModel(BertConfig(**options)).eval()
    write_bert_tokenizer(tmp_path)
    preset = small("keep", options=options, context_length=8)
    state = {f"text.{name}": value for name, value in bert.state_dict().items()}
    return preset, saved(tmp_path, {**state, "visual_head.0.weight": torch.ones(2, 2), **LOGIT_SCALE}), bert
