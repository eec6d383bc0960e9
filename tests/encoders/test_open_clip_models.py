"""Models of open_clip: features and vectors of texts equal those of open_clip itself."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import BertConfig

from pipelines.core.errors import EncoderError, SettingsError
from pipelines.encoders.encoder import load_encoder
from pipelines.encoders.find_preset import find_preset
from pipelines.encoders.text_tower import load_text_tower
from tests.encoders.small_tokenizers import write_word_tokenizer

open_clip = pytest.importorskip("open_clip")
VISION = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16}
TEXT = {"context_length": 8, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2}
BERT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 9}
WORDS = ["[PAD]", "[CLS]", "[SEP]", "lung", "tumor", "of", "normal", "x", "[UNK]"]
PIXELS = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.1], "interpolation": "bicubic", "resize_mode": "shortest"}
TILES = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)


def write_bert(folder):
    """Write the configuration and the tokenizer of a text tower of transformers, as in BiomedCLIP."""
    BertConfig(**BERT).save_pretrained(folder)
    write_word_tokenizer(folder / "tokenizer.json", WORDS, start="[CLS]", end="[SEP]")
    names = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **names}))
    names = {"hf_model_name": str(folder), "hf_tokenizer_name": str(folder)}
    return {**names, "hf_proj_type": "mlp", "hf_pooler_type": "cls_last_hidden_state_pooler", "context_length": 8}


@pytest.fixture(params=["clip", "bert"])
def joint(request, tmp_path):
    """Return a small model of open_clip, its tokenizer and the folder in which it is saved."""
    folder = tmp_path / "joint"
    folder.mkdir()
    text = TEXT if request.param == "clip" else write_bert(folder)
    config = {"embed_dim": 16, "vision_cfg": VISION, "text_cfg": text}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": PIXELS}))
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{folder}", pretrained_text=False).eval()
    save_file(
        {name: value.contiguous() for name, value in model.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    return model, open_clip.get_tokenizer(f"local-dir:{folder}"), folder


def test_features_and_texts_are_those_of_open_clip(joint):
    model, tokenizer, folder = joint
    pixels = torch.tensor((TILES / 255 - PIXELS["mean"]) / PIXELS["std"]).permute(0, 3, 1, 2).float()
    texts = ["lung tumor", "Normal,  tumor"]
    with torch.no_grad():
        images, vectors = model.encode_image(pixels), model.encode_text(tokenizer(texts), normalize=True)
    preset = find_preset(f"open_clip:{folder}")
    encoder, tower = load_encoder(preset), load_text_tower(preset)
    assert encoder(TILES) == pytest.approx(images.numpy(), abs=1e-5)
    assert tower(texts) == pytest.approx(vectors.numpy(), abs=1e-5)
    assert tower.logit_scale == pytest.approx(model.logit_scale.exp().item())
    assert tower.space == preset.space(encoder.fingerprint)
    assert (tower.dim, tower.context_length) == (16, 8)


def test_texts_of_the_full_context_fit_and_longer_ones_are_refused(joint):
    tower = load_text_tower(find_preset(f"open_clip:{joint[2]}"))
    assert tower.n_tokens(["lung " * 6, "lung " * 7]) == [8, 9]
    assert len(tower(["lung " * 6])) == 1
    with pytest.raises(SettingsError, match="the text has 9 tokens, but 8 fit"):
        tower(["lung " * 7])


@pytest.mark.parametrize(("tower", "load"), [("visual.", load_encoder), ("t", load_text_tower)])
def test_missing_weights_of_a_tower_are_refused(joint, tower, load):
    model, _, folder = joint
    state = {name: value for name, value in model.state_dict().items() if not name.startswith(tower)}
    save_file(state, folder / "open_clip_model.safetensors")
    with pytest.raises(EncoderError, match="weights missing, first"):
        load(find_preset(f"open_clip:{folder}"))


def test_a_name_of_open_clip_needs_weights_or_a_tag(joint):
    preset = find_preset("open_clip:ViT-B-32")
    assert (preset.dim, preset.resize, preset.text.context_length) == (512, 224, 77)
    with pytest.raises(EncoderError, match="its weights are not on the hub") as caught:
        load_text_tower(preset)
    assert "--weights" in caught.value.hint
    assert find_preset("open_clip:ViT-B-32/laion2b_s34b_b79k").hub == "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("open_clip:ViT-B-33", "open_clip has no model ViT-B-33"),
        ("open_clip:ViT-B-32/mine", "open_clip has no weights mine"),
        ("open_clip:ViT-L-14-CLIPA", "a tokenizer with strip_sep_token is not supported"),
    ],
)
def test_an_unknown_model_is_named(name, message):
    with pytest.raises(EncoderError, match=message):
        find_preset(name)
