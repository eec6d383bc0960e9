"""Text models that cannot encode texts on their own are refused with one clear line."""

import pytest
from transformers import (
    BertConfig,
    BertModel,
    CLIPConfig,
    CLIPModel,
    SiglipConfig,
    SiglipModel,
    T5Config,
    T5Model,
    ViTConfig,
    ViTModel,
)

from pipelines.core.errors import EncoderError
from pipelines.core.settings.model import ModelSettings
from pipelines.model.networks.text_encoder import TextEncoder
from tests.encoders.small_tokenizers import write_word_tokenizer

TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
VISION, TEXT = {**TINY, "image_size": 28, "patch_size": 14}, {**TINY, "vocab_size": 6}
MODELS = {
    "CLIPModel": lambda: CLIPModel(CLIPConfig(text_config=TEXT, vision_config=VISION)),
    "SiglipModel": lambda: SiglipModel(SiglipConfig(text_config=TEXT, vision_config=VISION)),
    "ViTModel": lambda: ViTModel(ViTConfig(**VISION)),
    "T5Model": lambda: T5Model(T5Config(vocab_size=6, d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2)),
}


def write_tokenizer(folder):
    write_word_tokenizer(folder / "tokenizer.json", ["<s>", "</s>", "lung", "<unk>"], start="<s>", end="</s>")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')


@pytest.mark.parametrize("kind", MODELS)
def test_a_model_of_another_kind_is_refused(tmp_path, kind):
    MODELS[kind]().save_pretrained(tmp_path)
    write_tokenizer(tmp_path)
    with pytest.raises(EncoderError, match=f"it is a {kind}, not a BERT-like text model") as caught:
        TextEncoder(ModelSettings(text_model=str(tmp_path)))
    assert "minilm-l6" in caught.value.hint


def test_a_text_model_without_a_vocabulary_is_refused(tmp_path):
    BertModel(BertConfig(**TEXT, max_position_embeddings=16)).save_pretrained(tmp_path)
    with pytest.raises(EncoderError, match=r"its tokenizer knows no words|cannot be loaded"):
        TextEncoder(ModelSettings(text_model=str(tmp_path)))
