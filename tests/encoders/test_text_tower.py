"""Text towers give the vectors of the authors' own code, and never cut a text.

The expected values of CONCH and MUSK are the first channels that the authors' code returned on 28 November 2026 for
the weights of `published_layouts`: https://github.com/mahmoodlab/CONCH and lilab-stanford/MUSK. The text towers of
KEEP and PLIP are models of transformers, as in the authors' code.
"""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertModel, CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModelWithProjection

from pipelines.core.errors import EncoderError, SettingsError
from pipelines.encoders.networks import build_network, load_network
from pipelines.encoders.presets import ENCODER_PRESETS
from pipelines.encoders.text_layers import ConchText, MuskText
from pipelines.encoders.text_networks import load_text_network
from pipelines.encoders.text_tower import load_text_tower
from tests.encoders import published_layouts as published
from tests.encoders.small_tokenizers import (
    BERT_WORDS,
    CLIP_WORDS,
    write_bert_tokenizer,
    write_clip_tokenizer,
    write_conch_tokenizer,
    write_word_tokenizer,
)

TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
TINY_VIT = {"img_size": 32, "embed_dim": 32, "depth": 2, "num_heads": 2}
LOGIT_SCALE = {"logit_scale": torch.tensor(np.log(25.0))}


def small(name, **text):
    """Return the preset ``name`` with other fields of its text tower, for features of any width."""
    preset = ENCODER_PRESETS[name]
    return replace(preset, dim=0, text=replace(preset.text, vocabulary=0, **text))


def saved(folder, state):
    path = folder / "weights.safetensors"
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    return path


def normalized(vectors):
    vectors = vectors.detach().numpy()
    return vectors / np.sqrt((vectors**2).sum(axis=1, keepdims=True))


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


def test_conch(conch):
    preset, weights = conch
    found = load_text_tower(preset, weights=weights)(["w5 w7", "w3 w4 w5 w6 w7 w8 w9 w10 w11"])  # 4 and 11 tokens
    expected = [
        [-0.243947, -0.304690, -0.060399, -0.188033, -0.416379, 0.200659],
        [-0.208147, -0.204946, 0.168438, -0.357252, -0.409118, 0.151250],
    ]
    assert found[:, :6] == pytest.approx(np.array(expected), abs=1e-5)


def test_image_features_of_conch_in_the_shared_space(tmp_path):
    preset = replace(ENCODER_PRESETS["conch-joint"], options=TINY_VIT, dim=16)
    with torch.no_grad():
        features = load_network(preset, saved(tmp_path, published.conch())).eval()(published.picture(32))[0]
    expected = [0.182789, -0.068640, -0.287787, -0.371583, -0.280618, -0.057674]
    assert features[:6].tolist() == pytest.approx(expected, abs=1e-5)


MUSK_TEXT = {"vocab_size": 11, "width": 32, "heads": 2, "layers": 2, "dim": 32}


def test_musk(tmp_path):
    preset, state = small("musk-joint", options=MUSK_TEXT), published.random_weights(published.musk())
    network = load_text_network(preset, preset.text, state, tmp_path / "weights").eval()
    ids = torch.tensor([[0, 4, 6, 2, 1, 1, 1], [0, 5, 6, 7, 8, 9, 2]])  # padded with 1
    expected = [
        [-0.087843, -0.162301, -0.465403, -0.011769, -0.202178, 0.137481],
        [-0.094089, -0.154126, -0.460701, -0.014720, -0.203604, 0.136619],
    ]
    assert normalized(network(ids, ids != 1))[:, :6] == pytest.approx(np.array(expected), abs=1e-5)


def test_image_features_of_musk_in_the_shared_space(tmp_path):
    preset = replace(ENCODER_PRESETS["musk-joint"], options={**TINY_VIT, "global_pool": "token"}, dim=32)
    weights = saved(tmp_path, published.random_weights(published.musk()))
    with torch.no_grad():
        features = load_network(preset, weights).eval()(published.picture(32))[0]
    expected = [0.326724, 0.021212, -0.013042, -0.072967, -0.091443, 0.129826]
    assert features[:6].tolist() == pytest.approx(expected, abs=1e-5)


def test_ids_of_musk_are_those_of_xlm_roberta(tmp_path):
    """XLM-RoBERTa puts four special tokens first, so ids are one higher than in the SentencePiece model."""
    sentencepiece = pytest.importorskip("sentencepiece")
    corpus, path = iter(["lung tumor", "normal lung of a tumor"] * 20), tmp_path / "tokenizer.spm"
    with path.open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=corpus, model_writer=file, vocab_size=16, minloglevel=2
        )
    model = sentencepiece.SentencePieceProcessor(model_file=str(path))
    preset, state = small("musk-joint", options={**MUSK_TEXT, "vocab_size": 40}), published.musk()
    state["beit3.text_embed.weight"] = torch.ones(40, 32)
    tower = load_text_tower(preset, weights=saved(tmp_path, state))
    pieces = [model.piece_to_id(piece) for piece in model.encode("lung x", out_type=str)]
    assert 0 in pieces  # x is unknown
    ids = tower._model.tokenizer.ids(["lung x"])[0]
    assert ids == [0, *(3 if piece == 0 else piece + 1 for piece in pieces), 2]
    assert tower.n_tokens(["lung x"]) == [len(pieces) + 2]


def test_a_missing_package_for_the_tokenizer_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sentencepiece", None)  # importing it fails
    (tmp_path / "tokenizer.spm").write_bytes(b"")
    with pytest.raises(EncoderError, match="musk-joint: its tokenizer needs the packages sentencepiece") as caught:
        load_text_tower(ENCODER_PRESETS["musk-joint"], weights=saved(tmp_path, LOGIT_SCALE))
    assert "five-wsi[sentencepiece]" in caught.value.hint


@pytest.mark.parametrize("tokenizer", ["vocab.txt", "tokenizer.json"])
def test_keep(keep, tmp_path, tokenizer):
    preset, weights, bert = keep
    if tokenizer == "tokenizer.json":
        (tmp_path / "vocab.txt").unlink()
        write_word_tokenizer(tmp_path / tokenizer, BERT_WORDS, start="[CLS]", end="[SEP]")
    found = load_text_tower(preset, weights=weights)(["lung tumor", "normal"])
    ids, mask = torch.tensor([[2, 7, 5, 3], [2, 6, 3, 0]]), torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    expected = normalized(bert(input_ids=ids, attention_mask=mask).pooler_output)
    assert found == pytest.approx(expected, abs=1e-5)


def test_keep_divides_words_and_ignores_case(keep):
    preset, weights, _ = keep
    tower = load_text_tower(preset, weights=weights)
    assert tower.n_tokens(["Lungs", "lung", ""]) == [4, 3, 2]  # lung ##s, with [CLS] and [SEP]
    assert tower(["TUMOR"]) == pytest.approx(tower(["tumor"]), abs=1e-6)


def test_plip(tmp_path):
    torch.manual_seed(0)
    options = {**TINY, "vocab_size": len(CLIP_WORDS), "max_position_embeddings": 8, "projection_dim": 16}
    options |= {"eos_token_id": 11, "bos_token_id": 10}
    vision = {**TINY, "image_size": 28, "patch_size": 14}
    clip = CLIPModel(CLIPConfig(text_config=options, vision_config=vision, projection_dim=16)).eval()
    write_clip_tokenizer(tmp_path)
    weights = saved(tmp_path, {**clip.state_dict(), "text_model.embeddings.position_ids": torch.arange(8)[None]})
    tower = load_text_tower(small("plip", options=options, context_length=8), weights=weights)
    ids = torch.tensor([[10, 6, *[11] * 6], [10, 6, 9, 6, *[11] * 4]])  # padded to the context, as the authors do
    mask = torch.tensor([[1] * 3 + [0] * 5, [1] * 5 + [0] * 3])
    expected = clip.get_text_features(input_ids=ids, attention_mask=mask)
    expected = normalized(getattr(expected, "pooler_output", expected))
    assert tower(["lung", "Lung of LUNG"]) == pytest.approx(expected, abs=1e-5)
    assert tower.logit_scale == pytest.approx(clip.logit_scale.exp().item())


def test_a_tower_states_scale_width_and_context(conch):
    preset, weights = conch
    tower = load_text_tower(preset, weights=weights)
    assert (tower.logit_scale, tower.dim, tower.context_length) == (pytest.approx(25), 16, 11)
    assert tower.space.startswith("conch-joint ")


def test_a_text_of_the_full_context_fits_and_a_longer_one_is_refused(conch):
    preset, weights = conch
    tower = load_text_tower(preset, weights=weights)
    longest = " ".join(["w3"] * 9)
    assert tower.n_tokens([longest, f"{longest} w4 w5"]) == [11, 13]
    assert tower([longest]).shape == (1, 16)
    with pytest.raises(SettingsError, match="text 2 of 2 has 13 tokens, but 11 fit into the text tower of conch-joint"):
        tower([longest, f"{longest} w4 w5"])


def test_a_vector_does_not_depend_on_the_other_texts(keep):
    preset, weights, _ = keep
    tower = load_text_tower(preset, weights=weights)
    texts = ["lung", "lung tumor of lung", "normal"]
    alone = np.concatenate([tower([text]) for text in texts])
    assert tower(texts * 12) == pytest.approx(np.tile(alone, (12, 1)), abs=1e-5)  # 36 texts are two batches
    assert tower([]).shape == (0, 32)


def test_the_space_changes_with_the_weights_and_with_the_image_preprocessing(keep, tmp_path):
    preset, weights, bert = keep
    space = load_text_tower(preset, weights=weights).space
    other = load_text_tower(replace(preset, mean=(0.5, 0.5, 0.5)), weights=weights).space
    state = {f"text.{name}": value * 1.5 for name, value in bert.state_dict().items()}
    retrained = load_text_tower(preset, weights=saved(tmp_path, {**state, **LOGIT_SCALE})).space
    assert len({space, other, retrained}) == 3


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


def test_a_damaged_tokenizer_is_named(conch, tmp_path):
    preset, weights = conch
    (tmp_path / "conch_byte_level_bpe_uncased.json").write_text("{")
    with pytest.raises(EncoderError, match=r"conch_byte_level_bpe_uncased\.json: not a readable tokenizer"):
        load_text_tower(preset, weights=weights)


def test_vectors_of_another_width_than_the_features_are_refused(conch):
    preset, weights = conch
    with pytest.raises(EncoderError, match="vectors of texts have 16 channels, but features of tiles 512"):
        load_text_tower(replace(preset, dim=512), weights=weights)


def millions(network):
    return sum(weight.numel() for weight in network.parameters()) / 1e6


def test_text_towers_have_their_published_sizes():
    """Published: MUSK has 675 million parameters in all; CLIP ViT-B/32 has 151.3, BERT base 109.5."""
    text = {name: ENCODER_PRESETS[name].text.options for name in ("musk-joint", "plip", "keep", "conch-joint")}
    with torch.device("meta"):
        musk, musk_image = MuskText(**text["musk-joint"]), build_network(ENCODER_PRESETS["musk-joint"])
        plip = CLIPTextModelWithProjection(CLIPTextConfig(**text["plip"]))
        keep = BertModel(BertConfig(**text["keep"]))
        conch = ConchText(**text["conch-joint"])
    assert millions(musk) + millions(musk_image) == pytest.approx(675, rel=0.01)
    assert millions(plip) + ENCODER_PRESETS["plip"].parameters == pytest.approx(151.3, rel=0.002)
    assert millions(keep) == pytest.approx(109.5, rel=0.001)
    assert conch.positional_embedding.shape == (128, 768)  # in the authors' conch_ViT-B-16.json
    assert conch.text_projection.shape == (768, 512)
