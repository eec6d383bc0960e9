"""Encoders outside ``presets.yaml``: timm, transformers, TorchScript."""

import importlib.util
import json

import numpy as np
import pytest
import torch
from torch import nn
from transformers import (
    Dinov2Config,
    Dinov2Model,
    ResNetConfig,
    ResNetModel,
    ViTConfig,
    ViTModel,
)

from pipelines.core.errors import EncoderError
from pipelines.encoders.encoder import encoder_fingerprint, load_encoder
from pipelines.encoders.find_preset import find_preset

TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
SIZES = {"image_size": 28, "patch_size": 14}
PROCESSOR = {
    "size": {"shortest_edge": 32},
    "crop_size": {"height": 28, "width": 28},
    "do_center_crop": True,
    "resample": 3,
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.2, 0.2, 0.1],
}
TILES = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)


def saved(folder, model, **processor):
    model.eval().save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({**PROCESSOR, **processor}))
    return f"hf:{folder}"


def expected_pixels():
    """Return the normalized center crop of TILES, 28 pixels wide."""
    center = TILES[:, 2:30, 2:30] / 255
    return torch.tensor((center - [0.5, 0.4, 0.3]) / [0.2, 0.2, 0.1]).permute(0, 3, 1, 2).float()


def test_the_preset_of_a_timm_network_comes_from_timm():
    preset = find_preset("timm:vit_small_patch16_224.dino")
    assert (preset.mean, preset.resize, preset.interpolation) == ((0.485, 0.456, 0.406), 224, "bicubic")


def test_the_preset_of_a_transformers_model_comes_from_its_image_processor(tmp_path):
    preset = find_preset(saved(tmp_path, Dinov2Model(Dinov2Config(**TINY, **SIZES))))
    assert (preset.resize, preset.input_size, preset.interpolation) == (32, 28, "bicubic")
    assert (preset.mean, preset.std) == ((0.5, 0.4, 0.3), (0.2, 0.2, 0.1))


def test_features_of_a_transformers_model_are_its_pooler_output(tmp_path):
    torch.manual_seed(0)
    model = Dinov2Model(Dinov2Config(**TINY, **SIZES))
    encoder = load_encoder(find_preset(saved(tmp_path, model)))
    with torch.no_grad():
        expected = model(expected_pixels()).pooler_output
    assert encoder.dim == 32
    assert encoder(TILES) == pytest.approx(expected.numpy(), abs=1e-5)


def test_features_without_pooler_weights_are_the_class_token(tmp_path):
    torch.manual_seed(0)
    model = ViTModel(ViTConfig(**TINY, **SIZES), add_pooling_layer=False)
    encoder = load_encoder(find_preset(saved(tmp_path, model)))
    with torch.no_grad():
        expected = model(expected_pixels()).last_hidden_state[:, 0]
    assert encoder(TILES) == pytest.approx(expected.numpy(), abs=1e-5)


def test_features_of_a_convolutional_network_are_its_mean_feature_map(tmp_path):
    torch.manual_seed(0)
    model = ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1]))
    encoder = load_encoder(find_preset(saved(tmp_path, model)))
    with torch.no_grad():
        expected = model(expected_pixels()).last_hidden_state.mean(dim=(2, 3))
    assert encoder(TILES) == pytest.approx(expected.numpy(), abs=1e-5)


def test_a_model_of_open_clip_without_the_package_names_the_extra(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "open_clip" else find(name))
    with pytest.raises(EncoderError, match="needs the package open_clip_torch") as caught:
        find_preset("open_clip:ViT-B-32")
    assert "five-wsi[open-clip]" in caught.value.hint


def test_a_model_that_needs_code_from_its_repository_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "x", "auto_map": {"AutoModel": "modeling.X"}}))
    with pytest.raises(EncoderError, match="refused, because it runs Python code"):
        find_preset(f"hf:{tmp_path}")


def test_a_model_type_unknown_to_transformers_is_reported(tmp_path):
    name = saved(tmp_path, Dinov2Model(Dinov2Config(**TINY, **SIZES)))
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "from-the-future"}))
    with pytest.raises(EncoderError, match="does not have this vision model"):
        load_encoder(find_preset(name))


def test_an_incomplete_image_processor_is_refused(tmp_path):
    name = saved(tmp_path, Dinov2Model(Dinov2Config(**TINY, **SIZES)), size=None)
    with pytest.raises(EncoderError, match="lacks size or image_mean"):
        find_preset(name)


class Brightness(nn.Module):
    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.mean(dim=(2, 3))


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "brightness.pt"
    torch.jit.save(torch.jit.script(Brightness()), path)
    return path


@pytest.mark.parametrize("prefix", ["torchscript:", ""])
def test_a_torchscript_file_is_an_encoder(script, prefix):
    encoder = load_encoder(find_preset(f"{prefix}{script}"))
    white = np.full((3, 300, 300, 3), 255, np.uint8)
    expected = [(1 - mean) / std for mean, std in zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)]
    assert encoder(white) == pytest.approx(np.array([expected] * 3), abs=1e-5)


def test_the_fingerprint_depends_on_the_content_of_the_torchscript_file(script):
    before = encoder_fingerprint(find_preset(f"torchscript:{script}"))
    torch.jit.save(torch.jit.script(nn.Sequential(Brightness(), nn.ReLU())), script)
    assert encoder_fingerprint(find_preset(f"torchscript:{script}")) != before


def test_a_torchscript_file_accepts_no_weights(script, tmp_path):
    with pytest.raises(EncoderError, match="has its own weights"):
        load_encoder(find_preset(f"torchscript:{script}"), weights=script)


def test_a_weights_file_is_not_accepted_as_torchscript(tmp_path):
    torch.save({"w": torch.ones(1)}, tmp_path / "weights.pt")
    with pytest.raises(EncoderError, match="not a TorchScript file") as caught:
        load_encoder(find_preset(f"torchscript:{tmp_path / 'weights.pt'}"))
    assert "--encoder NAME --weights FILE" in caught.value.hint
