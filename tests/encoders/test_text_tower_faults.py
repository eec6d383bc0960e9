"""Text towers that cannot be loaded are refused with the file and the reason."""

import json
import sys
from dataclasses import replace

import pytest
import torch

from pipelines.core.errors import EncoderError
from pipelines.encoders.presets import ENCODER_PRESETS
from pipelines.encoders.text_tower import load_text_tower
from tests.encoders import published_layouts as published
from tests.encoders.small_towers import LOGIT_SCALE, saved


def test_a_missing_package_for_the_tokenizer_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sentencepiece", None)  # importing it fails
    (tmp_path / "tokenizer.spm").write_bytes(b"")
    with pytest.raises(EncoderError, match="musk-joint: its tokenizer needs the packages sentencepiece") as caught:
        load_text_tower(ENCODER_PRESETS["musk-joint"], weights=saved(tmp_path, LOGIT_SCALE))
    assert "five-wsi[sentencepiece]" in caught.value.hint


@pytest.mark.parametrize("name", ["uni", "conch", "musk", "resnet50"])
def test_an_encoder_without_a_text_tower_is_refused_with_a_list_of_those_that_have_one(name):
    with pytest.raises(EncoderError, match=f"{name} has no text tower") as caught:
        load_text_tower(ENCODER_PRESETS[name])
    for known in ("conch-joint", "keep", "musk-joint", "plip", "hf:REPOSITORY", "TextEncoder"):
        assert known in caught.value.hint


def test_a_file_with_only_the_image_tower_is_refused(keep, tmp_path):
    preset, _, _ = keep
    weights = saved(tmp_path, {"visual_head.0.weight": torch.ones(2, 2), **LOGIT_SCALE})
    with pytest.raises(EncoderError, match="the text tower of keep: the file has only the image tower"):
        load_text_tower(preset, weights=weights)


@pytest.mark.parametrize("problem", ["missing", "left over", "size mismatch", "logit_scale"])
def test_weights_that_do_not_fit_are_refused(conch, tmp_path, problem):
    preset, _ = conch
    state = {**published.conch_text(), **LOGIT_SCALE}
    if problem == "missing":
        del state["text.transformer.resblocks.1.ln_2.bias"]
    elif problem == "left over":
        state["text.transformer.resblocks.2.ln_2.bias"] = torch.ones(24)
    elif problem == "size mismatch":
        state["text.ln_final.weight"] = torch.ones(23)
    else:
        del state["logit_scale"]
    with pytest.raises(EncoderError, match=f"not the weights of the text tower of conch-joint: .*{problem}"):
        load_text_tower(preset, weights=saved(tmp_path, state))


def test_the_tokenizer_of_another_encoder_is_refused(conch):
    preset, weights = conch
    preset = replace(preset, text=replace(preset.text, vocabulary=32007))
    with pytest.raises(EncoderError, match="not the tokenizer of conch-joint: it knows 13 tokens, not 32,007"):
        load_text_tower(preset, weights=weights)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"version"', '"versiom'),
        ('"ids":[', '"idz":['),
        ('{"SpecialToken":{"id":"<start_of_text>"', '{"SpecialToken":{"id":"<start_of_next>"'),  # a panic in tokenizers
        ('"unk_token":"w12"', '"unk_token":"w99"'),
    ],
)
def test_a_damaged_tokenizer_is_named(conch, tmp_path, before, after):
    preset, weights = conch
    path = tmp_path / "conch_byte_level_bpe_uncased.json"
    text = json.dumps(json.loads(path.read_text()), separators=(",", ":"))
    assert before in text
    path.write_text(text.replace(before, after, 1))
    with pytest.raises(EncoderError, match=r"conch_byte_level_bpe_uncased\.json: not a readable tokenizer"):
        load_text_tower(preset, weights=weights)


def test_vectors_of_another_width_than_the_features_are_refused(conch):
    preset, weights = conch
    with pytest.raises(EncoderError, match="vectors of texts have 16 channels, but features of tiles 512"):
        load_text_tower(replace(preset, dim=512), weights=weights)
