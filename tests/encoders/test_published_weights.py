"""Weights in the published layouts load completely and give the features of the authors' own code.

The expected values are the first features that the authors' code returned on 24 November 2026 for the weights
and the picture of `published_layouts`, in networks of two blocks: https://github.com/mahmoodlab/CONCH,
mahmoodlab/TRIDENT (CONCH 1.5), lilab-stanford/MUSK, KatherLab/STAMP (CTransPath) and HistAI/hibou (its DINOv2,
for Hibou, Midnight, Phikon-v2, GPFM and DINOv2). The published weights themselves were not available.
"""

from dataclasses import replace

import pytest
import timm
import torch
from safetensors.torch import save_file

from pipelines.core.errors import EncoderError
from pipelines.encoders.embeddings import EMBEDDINGS
from pipelines.encoders.networks import load_network
from pipelines.encoders.presets import ENCODER_PRESETS
from tests.encoders import published_layouts as published

TINY_VIT = {"embed_dim": 32, "depth": 2, "num_heads": 2}
TINY_DINO = {"embed_dim": 48, "depth": 2, "num_heads": 2}
TINY_HF = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 14, "image_size": 28}


def features_of(name, options, state, folder, size, **fields):
    """Return the features of `published.picture` from a tiny version of the preset ``name``, loaded from a file."""
    preset = replace(ENCODER_PRESETS[name], options=options, **fields)
    save_file({key: value.contiguous() for key, value in state.items()}, folder / "published.safetensors")
    network = load_network(preset, folder / "published.safetensors").eval()
    with torch.no_grad():
        return EMBEDDINGS[preset.embedding](network, published.picture(size))[0]


def starts_with(features, expected):
    return features[: len(expected)].tolist() == pytest.approx(expected, abs=2e-5)


def test_conch(tmp_path):
    features = features_of("conch", {"img_size": 32, **TINY_VIT}, published.conch(), tmp_path, 32, dim=16)
    assert starts_with(features, [-1.36003, -0.07956, 1.67497, 1.04975, -0.83693, -0.81343])


def test_conch_1_5_resizes_position_embeddings_as_its_authors_do(tmp_path):
    options = {"img_size": 64, "init_values": 1e-6, **TINY_VIT}
    features = features_of("conch-1.5", options, published.conch_1_5(), tmp_path, 64, dim=16)
    assert starts_with(features, [1.17721, 0.75688, -0.87918, -1.39245, -0.07391, 1.29823])


MUSK_OPTIONS = {"img_size": 32, "global_pool": "token", **TINY_VIT}
MUSK = [0.200507, 0.024340, 0.276358, 0.086724, -0.221426, -0.168335]


def test_musk(tmp_path):
    assert starts_with(features_of("musk", MUSK_OPTIONS, published.musk(), tmp_path, 32), MUSK)


def test_musk_at_two_scales(tmp_path):
    features = features_of("musk-multiscale", MUSK_OPTIONS, published.musk(), tmp_path, 32)
    assert features.shape == (64,)
    assert starts_with(features, MUSK)
    assert starts_with(features[-4:], [0.051268, 0.218181, 0.148239, -0.286168])


def test_ctranspath_from_the_layout_of_timm_0_5(tmp_path):
    options = {"embed_layer": "ConvStem", "img_size": 56, "embed_dim": 16, "depths": (2, 2), "num_heads": (2, 4)}
    features = features_of("ctranspath", options, published.ctranspath(), tmp_path, 56)
    assert starts_with(features, [0.11438, 0.40558, 0.88661, -1.21241, -1.74690, 0.19436])


def test_hibou(tmp_path):
    state = published.in_transformers_names(published.dinov2(registers=4, swiglu=True))
    features = features_of("hibou-b", {**ENCODER_PRESETS["hibou-b"].options, **TINY_HF}, state, tmp_path, 28)
    assert starts_with(features, [0.30508, 0.61239, 1.59779, -0.77446, -0.66899, -1.05258])


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (28, [0.30625, 0.56873, 1.61120, -0.76272, -0.57548, -1.08910]),
        (56, [0.29333, 0.54350, 1.64946, -0.75823, -0.48099, -1.00506]),  # position embeddings are resized
    ],
)
def test_midnight(tmp_path, size, expected):
    state = published.in_transformers_names(published.dinov2(swiglu=True))
    options = {
        **ENCODER_PRESETS["midnight-12k"].options,
        **TINY_HF,
        "image_size": 42,
    }  # the weights file determines the true size
    assert starts_with(features_of("midnight-12k", options, state, tmp_path, size), expected)


def test_gpfm_from_the_teacher_of_a_training_run(tmp_path):
    state = {f"backbone.{name}": value for name, value in published.dinov2(chunks=2).items()}
    state["dino_head.mlp.0.weight"] = torch.ones(2, 2)
    features = features_of("gpfm", {"img_size": 28, "init_values": 1e-5, **TINY_DINO}, state, tmp_path, 28)
    assert starts_with(features, [1.41687, 0.49760, 0.73872, -1.21244, 0.75441, -1.41604])


def test_dinov2_with_resized_position_embeddings(tmp_path):
    features = features_of("dinov2-base", {"img_size": 56, **TINY_DINO}, published.dinov2(), tmp_path, 56)
    assert starts_with(features, [0.44343, 0.56003, 0.87257, 0.13611, -0.97025, -0.37302])


def test_phikon_v2_is_the_dinov2_of_transformers(tmp_path):
    """The position embeddings fit, so the features equal those of timm's DINOv2 with the same weights."""
    state = published.dinov2()
    options = {**ENCODER_PRESETS["phikon-v2"].options, **TINY_HF}
    features = features_of("phikon-v2", options, published.in_transformers_names(state), tmp_path, 28)
    expected = features_of("dinov2-base", {"img_size": 28, **TINY_DINO}, state, tmp_path, 28)
    assert features == pytest.approx(expected.numpy(), abs=2e-5)


def test_phikon_is_a_plain_vision_transformer(tmp_path):
    """The weights have the names of older transformers releases; timm's network gives the expected features."""
    state = published.filled(published.vit(48, 5, 14))
    network = timm.create_model("vit_base_patch16_224", img_size=28, patch_size=14, num_classes=0, **TINY_DINO)
    network.load_state_dict(state)
    with torch.no_grad():
        expected = network.eval()(published.picture(28))[0]
    names = {"norm1": "layernorm_before", "norm2": "layernorm_after"}
    names |= {"mlp.fc1": "intermediate.dense", "mlp.fc2": "output.dense"}
    saved = {}
    for name, value in published.in_transformers_names(state).items():
        for old, new in names.items():
            name = name.replace(old, new)
        saved[name] = value
    saved["pooler.dense.weight"] = torch.ones(48, 48)
    options = {**ENCODER_PRESETS["phikon"].options, **TINY_HF, "intermediate_size": 192}
    assert features_of("phikon", options, saved, tmp_path, 28) == pytest.approx(expected.numpy(), abs=1e-4)


def test_plip_gives_the_image_features_of_clip(tmp_path):
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(0)
    tiny = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    vision = {**tiny, "image_size": 28, "patch_size": 14}
    text = {**tiny, "vocab_size": 20}
    clip = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)).eval()
    with torch.no_grad():
        expected = clip.get_image_features(pixel_values=published.picture(28))
    expected = getattr(expected, "pooler_output", expected)[0]
    state = {**clip.state_dict(), "vision_model.embeddings.position_ids": torch.arange(5)[None]}
    features = features_of("plip", {**vision, "projection_dim": 16}, state, tmp_path, 28, dim=16)
    assert features == pytest.approx(expected.numpy(), abs=1e-5)


def test_keep_projects_and_normalizes_its_features(tmp_path):
    """The published file names the layer scales as transformers does and also contains the text tower."""
    torch.manual_seed(0)
    trunk = published.filled(published.vit(32, 5, 16, prefix="visual.", layer_scale=True))
    head = published.filled({**published.linear("visual_head.0", 8, 32), **published.linear("visual_head.2", 8, 8)})
    network = timm.create_model("vit_base_patch16_224", img_size=32, init_values=1.0, num_classes=0, **TINY_VIT)
    network.load_state_dict({name.removeprefix("visual."): value for name, value in trunk.items()})
    with torch.no_grad():
        pooled = network.eval()(published.picture(32))[0]
    hidden = head["visual_head.0.weight"] @ pooled + head["visual_head.0.bias"]
    hidden = hidden * (1 + torch.erf(hidden / 2**0.5)) / 2
    expected = head["visual_head.2.weight"] @ hidden + head["visual_head.2.bias"]
    expected = expected / expected.square().sum().sqrt()
    saved = {name.replace(".gamma", ".weight"): value for name, value in trunk.items()}
    state = {**saved, **head, "text.embeddings.word_embeddings.weight": torch.ones(3, 3), "logit_scale": torch.ones(())}
    features = features_of("keep", {"img_size": 32, "init_values": 1e-5, **TINY_VIT}, state, tmp_path, 32, dim=8)
    assert features == pytest.approx(expected.numpy(), abs=1e-5)


def test_features_of_the_truncated_resnet_are_the_mean_of_its_third_stage(tmp_path):
    torch.manual_seed(0)
    network = timm.create_model("resnet50", pretrained=False).eval()
    with torch.no_grad():
        stage3 = network.layer3(
            network.layer2(
                network.layer1(network.maxpool(network.act1(network.bn1(network.conv1(published.picture(64))))))
            )
        )
    options = ENCODER_PRESETS["resnet50-trunc"].options
    features = features_of("resnet50-trunc", options, network.state_dict(), tmp_path, 64)
    assert features == pytest.approx(stage3.mean(dim=(2, 3))[0].numpy(), abs=1e-5)


@pytest.mark.parametrize("prefix", ["module.", "model.", "teacher.backbone.", "_orig_mod."])
def test_prefixes_of_training_checkpoints_are_removed(tmp_path, prefix):
    state = {prefix + name: value for name, value in published.dinov2(chunks=2).items()}
    features = features_of("gpfm", {"img_size": 28, "init_values": 1e-5, **TINY_DINO}, state, tmp_path, 28)
    assert starts_with(features, [1.41687, 0.49760, 0.73872])


@pytest.mark.parametrize("problem", ["missing", "left over", "size mismatch"])
def test_transformers_weights_that_do_not_fit_are_refused(tmp_path, problem):
    state = published.in_transformers_names(published.dinov2())
    if problem == "missing":
        del state["encoder.layer.1.layer_scale1.lambda1"]
    elif problem == "left over":
        state["encoder.layer.7.layer_scale1.lambda1"] = torch.ones(48)
    else:
        state["layernorm.weight"] = torch.ones(47)
    options = {**ENCODER_PRESETS["phikon-v2"].options, **TINY_HF}
    with pytest.raises(EncoderError, match=r"published\.safetensors: these are not the weights of phikon-v2"):
        features_of("phikon-v2", options, state, tmp_path, 28)
