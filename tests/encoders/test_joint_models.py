"""Image-text models of transformers by ``hf:``: features and texts are in the shared space of the model."""

import json

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import SiglipModel

from pipelines.core.errors import EncoderError, SettingsError
from pipelines.encoders.encoder import load_encoder
from pipelines.encoders.find_preset import find_preset
from pipelines.encoders.text_tower import load_text_tower
from tests.encoders.small_tokenizers import write_word_tokenizer
from tests.encoders.test_other_encoders import PROCESSOR, SIZES, TILES, TINY, expected_pixels

WORDS = ["<pad>", "<s>", "</s>", "lung", "tumor", "normal", "<unk>"]
TEXT = {**TINY, "vocab_size": 7, "max_position_embeddings": 8, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
CONTEXT = [[1, 3, 4, 2, 0, 0, 0, 0], [1, 5, 2, 0, 0, 0, 0, 0]]
"""Token ids of "lung tumor" and "normal", padded to the context."""


OTHERS = {
    "AltCLIP": {"max_position_embeddings": 12, "project_dim": 16},
    "Blip": {"projection_dim": 32},
    "ChineseCLIP": {},
    "GroupViT": {},
}
"""Other models of images and texts -> additional settings of the text part."""


def build(kind):
    """Return a small random model of the class ``<kind>Model``."""
    torch.manual_seed(0)
    config_class, model_class = getattr(transformers, f"{kind}Config"), getattr(transformers, f"{kind}Model")
    text = {**TEXT, **OTHERS.get(kind, {}), **({"projection_size": 32} if kind == "Siglip" else {})}
    width = {} if kind == "Siglip" else {"projection_dim": 16}
    model = model_class(config_class(text_config=text, vision_config={**TINY, **SIZES}, **width)).eval()
    with torch.no_grad():
        for weight in model.parameters():  # by default, all texts have nearly the same vector
            weight.add_(torch.randn_like(weight) * 0.1)
    return model


def save(model, folder):
    """Save the model with an image processor and a tokenizer, and return its encoder name."""
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    write_word_tokenizer(folder / "tokenizer.json", WORDS, start="<s>", end="</s>")
    tokenizer = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    return f"hf:{folder}"


@pytest.fixture(params=["CLIP", "Siglip"])
def joint(request, tmp_path):
    """Return a small image-text model, and its encoder name; the model is saved in a folder."""
    model = build(request.param)
    return model, save(model, tmp_path / "joint")


def vectors(output):
    """Return the vectors in the output of a model; before transformers 5, the output is a tensor."""
    return getattr(output, "pooler_output", output).detach().numpy()


def test_features_are_projected_into_the_shared_space(joint):
    model, name = joint
    encoder = load_encoder(find_preset(name))
    expected = vectors(model.get_image_features(pixel_values=expected_pixels()))
    assert encoder(TILES) == pytest.approx(expected, abs=1e-5)


def test_texts_are_encoded_as_by_the_model(joint):
    """SigLIP was trained with texts padded to the context and without a mask."""
    model, name = joint
    ids = torch.tensor(CONTEXT)
    mask = {} if isinstance(model, SiglipModel) else {"attention_mask": (ids != 0).long()}
    expected = vectors(model.get_text_features(input_ids=ids, **mask))
    tower = load_text_tower(find_preset(name))
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert abs(expected[0] - expected[1]).max() > 0.01
    assert tower(["lung tumor", "normal"]) == pytest.approx(expected, abs=1e-5)
    assert tower.logit_scale == pytest.approx(model.logit_scale.exp().item())


@pytest.mark.parametrize("kind", OTHERS)
def test_other_models_of_images_and_texts_share_a_space(tmp_path, kind):
    model = build(kind)
    preset = find_preset(save(model, tmp_path))
    ids = torch.tensor(CONTEXT)
    texts = vectors(model.get_text_features(input_ids=ids, attention_mask=(ids != 0).long()))
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    images = vectors(model.get_image_features(pixel_values=expected_pixels()))
    assert load_text_tower(preset)(["lung tumor", "normal"]) == pytest.approx(texts, abs=1e-5)
    assert load_encoder(preset)(TILES) == pytest.approx(images, abs=1e-5)


def test_texts_of_the_full_context_fit_and_longer_ones_are_refused(joint):
    tower = load_text_tower(find_preset(joint[1]))
    assert tower.n_tokens(["lung " * 6, "lung " * 7]) == [8, 9]
    assert len(tower(["lung " * 6])) == 1
    with pytest.raises(SettingsError, match="the text has 9 tokens, but 8 fit"):
        tower(["lung " * 7])


def test_the_features_are_in_the_space_of_the_texts_wherever_the_folder_is(joint, tmp_path):
    name = joint[1]
    space = load_text_tower(find_preset(name)).space
    (tmp_path / "moved").mkdir()
    moved = (tmp_path / "joint").rename(tmp_path / "moved" / "joint")
    preset = find_preset(f"hf:{moved}")
    assert preset.space(load_encoder(preset).fingerprint) == space
    assert space.startswith("joint ")


@pytest.mark.parametrize(("others", "load"), [("text", load_encoder), (("vision", "visual"), load_text_tower)])
def test_a_tower_is_loaded_without_the_weights_of_the_other(joint, tmp_path, others, load):
    path = tmp_path / "joint" / "model.safetensors"
    state = {name: value for name, value in load_file(path).items() if not name.startswith(others)}
    save_file(state, path, {"format": "pt"})
    load(find_preset(joint[1]))


@pytest.mark.parametrize(("tower", "load"), [("vision", load_encoder), ("text", load_text_tower)])
def test_missing_weights_of_a_tower_are_refused(joint, tmp_path, tower, load):
    path = tmp_path / "joint" / "model.safetensors"
    state = load_file(path)
    del state[next(name for name in state if name.startswith(tower))]
    save_file(state, path, {"format": "pt"})
    with pytest.raises(EncoderError, match=f"1 weights missing, first {tower}"):
        load(find_preset(joint[1]))


def test_a_missing_tokenizer_is_named(joint, tmp_path):
    (tmp_path / "joint" / "tokenizer.json").unlink()
    with pytest.raises(EncoderError, match=r"its tokenizer tokenizer\.json and tokenizer_config\.json or .* is not in"):
        load_text_tower(find_preset(joint[1]))


def test_a_model_without_a_text_part_has_no_text_tower(tmp_path):
    build("CLIP").vision_model.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    preset = find_preset(f"hf:{tmp_path}")
    assert preset.text is None
    assert preset.space("0") == ""
