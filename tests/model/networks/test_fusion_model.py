from dataclasses import replace

import numpy as np
import pytest
import torch

from pipelines.core.errors import ArtifactError, EncoderError
from pipelines.core.settings.model import ModelSettings
from pipelines.core.settings.train_presets import TRAIN_PRESETS
from pipelines.model.data.bags import TileBag
from pipelines.model.networks.bag_model import ModelSpec
from pipelines.model.networks.checkpoint import load_model, save_model
from pipelines.model.networks.fusion_model import FusionModel
from tests.run_manifests import mark_complete

SPEC = ModelSpec(
    24, "toy", "0123", 224, 0.5, {"growth": "growth of cells", "margin": "margins", "mucin": "mucin is present"}
)
SMALL = {"model": "five-fusion", "width": 64, "diagnosis_prompts": 4, "prompt_tokens": 3}


@pytest.fixture
def make(tiny_bert):
    def build(**changes):
        torch.manual_seed(1)
        return FusionModel(ModelSettings(text_model=str(tiny_bert), **{**SMALL, **changes}), SPEC).eval()

    return build


def bag(n_tiles, seed=0):
    generator = torch.Generator().manual_seed(seed)
    corners = np.stack([np.arange(n_tiles), np.arange(n_tiles) // 3], axis=1) * 448
    grid_position = torch.from_numpy((corners / 448).astype(np.float32))
    features = torch.randn(n_tiles, 24, generator=generator)
    return TileBag("s", features, corners, 448, grid_position, torch.arange(n_tiles) / n_tiles, 1.0)


def reordered(bag, order):
    fields = ("features", "corners", "grid_position", "file_position")
    return replace(bag, **{name: getattr(bag, name)[order] for name in fields})


def test_all_embeddings_have_length_one(make):
    model = make()
    prompts = model.encode_prompts()
    vectors = [prompts, model.encode_bags([bag(5), bag(3, 1)], prompts), model.encode_texts(["round cells", "mucin"])]
    assert [len(v) for v in vectors] == [3 + 4, 2, 2]
    for each in vectors:
        torch.testing.assert_close(each.norm(dim=-1), torch.ones(len(each)))


@pytest.mark.parametrize("padding", ["masked", "released"])
def test_the_order_of_tiles_does_not_matter_if_their_positions_move_along(make, padding):
    model = make(padding=padding, positions="grid")
    prompts, one = model.encode_prompts(), bag(9)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    expected = model.encode_bags([one], prompts)
    torch.testing.assert_close(model.encode_bags([reordered(one, order)], prompts), expected, atol=1e-5, rtol=1e-4)


def test_dropping_a_question_drops_only_its_prompt(make):
    model = make()
    all_prompts, kept = model.encode_prompts(), model.encode_prompts([0, 2])
    torch.testing.assert_close(kept, all_prompts[[0, 2, 3, 4, 5, 6]], atol=1e-5, rtol=1e-4)


def test_a_text_does_not_depend_on_the_other_texts_of_the_batch(make):
    model = make()
    together = model.encode_texts(["round", "rings of round cells; margins are clear; mucin is present"])
    torch.testing.assert_close(model.encode_texts(["round"])[0], together[0], atol=1e-5, rtol=1e-4)


def test_released_pooling_depends_on_the_padded_length(make):
    vectors = [make(text_pooling="released", context_length=n).encode_texts(["round cells"]) for n in (8, 40)]
    assert not torch.allclose(*vectors, atol=1e-3)


def test_a_plain_class_vector_is_the_normalised_mean_of_its_texts(make):
    model = make(class_texts="plain")
    a, b, c = model.encode_texts(["round cells", "rings", "spindle cells"])
    expected = torch.stack([(a + b) / (a + b).norm(), c])
    vectors = model.encode_classes({"round": ["round cells", "rings"], "spindle": ["spindle cells"]})
    torch.testing.assert_close(vectors, expected)


def test_centered_class_vectors_sum_to_zero_and_have_a_unit_mean_square_distance(make):
    classes = {name: [name] for name in ("round cells", "rings", "spindle cells")}
    plain = make(class_texts="plain").encode_classes(classes)
    centered = make().encode_classes(classes)
    torch.testing.assert_close(centered.sum(dim=0), torch.zeros(64), atol=1e-5, rtol=0)
    assert torch.pdist(centered).square().mean().item() == pytest.approx(1, rel=1e-5)
    ratios = torch.pdist(centered) / torch.pdist(plain)
    torch.testing.assert_close(ratios, ratios[:1].expand(3), rtol=1e-4, atol=0)


def test_classes_with_the_same_text_have_the_same_logits(make):
    assert make().encode_classes({"a": ["rings"], "b": ["rings"]}).abs().max() < 1e-3


def test_lora_trains_only_the_adapters_of_the_text_model(make):
    model = make().train()
    before = {name: value.clone() for name, value in model.state_dict().items() if name.startswith("text.model.")}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):  # the second matrix starts at zero, so the first has no gradient in step one
        model.encode_texts(["round cells"])[0, 0].backward()
        optimizer.step()
    changed = {name for name, value in before.items() if not torch.equal(value, model.state_dict()[name])}
    assert changed == {name for name in before if "lora_" in name}
    assert {name.split(".lora_")[0].rsplit(".", 1)[-1] for name in changed} == {"query", "key", "value", "dense"}
    assert len(changed) == 2 * 2 * 6  # two matrices x two BERT layers x six linear layers


def test_a_frozen_text_model_has_no_adapters_and_encodes_a_text_once(make, monkeypatch):
    model = make(tuning="frozen").train()
    assert not any(p.requires_grad for p in model.text.model.parameters())
    first = model.encode_texts(["round cells"])
    monkeypatch.setattr(model.text, "_encode", lambda texts: pytest.fail("encoded again"))
    torch.testing.assert_close(model.encode_texts(["round cells"]), first)


def test_learned_prompts_learn_through_a_frozen_text_model(make):
    model = make(tuning="frozen").train()
    model.encode_bags([bag(4)], model.encode_prompts())[0, 0].backward()
    assert model.prompts.learned.grad.abs().sum() > 0


def test_prompts_without_soft_tokens_are_free_vectors(make):
    model = make(prompt_tokens=0)
    expected = torch.nn.functional.normalize(model.prompts.learned, dim=-1)
    torch.testing.assert_close(model.encode_prompts([]), expected)


def test_features_are_standardised_with_the_given_statistics(make):
    model = make()
    prompts, one = model.encode_prompts(), bag(6)
    plain = model.encode_bags([one], prompts)
    mean, std = torch.full((24,), 3.0), torch.full((24,), 2.0)
    model.scale_features(mean, std)
    shifted = replace(one, features=one.features * std + mean)
    torch.testing.assert_close(model.encode_bags([shifted], prompts), plain, atol=1e-4, rtol=1e-4)


def test_features_of_the_models_width_are_not_projected(tiny_bert):
    released = {**TRAIN_PRESETS["released"], "text_model": str(tiny_bert), "width": 64, "prompt_tokens": 8}
    names = ModelSettings.__dataclass_fields__
    settings = ModelSettings(**{name: value for name, value in released.items() if name in names}, context_length=16)
    model = FusionModel(settings, ModelSpec(64, "toy", "0123", 224, 0.5, {}))
    assert isinstance(model.input, torch.nn.Identity)
    assert model.scale.item() == pytest.approx(300)


def test_a_loaded_checkpoint_computes_exactly_the_same(make, tmp_path):
    model = make()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight))
    model.scale_features(torch.randn(24), torch.rand(24) + 0.5)
    save_model(model, tmp_path, settings={"lr": 1.0})
    mark_complete(tmp_path)
    loaded = load_model(tmp_path)
    for each in (model, loaded):
        each.eval()
    prompts = model.encode_prompts()
    assert torch.equal(loaded.encode_prompts(), prompts)
    assert torch.equal(loaded.encode_bags([bag(5)], prompts), model.encode_bags([bag(5)], prompts))
    assert (loaded.settings, loaded.spec) == (model.settings, SPEC)


def test_a_checkpoint_holds_only_the_adapters_of_the_text_model(make, tmp_path):
    from safetensors import safe_open

    save_model(make(), tmp_path, settings={})
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        names = [name for name in file.keys() if name.startswith("text.model.")]  # noqa: SIM118
    assert names
    assert all("lora_" in name for name in names)


def test_weights_of_another_shape_are_refused_and_named(make, tmp_path):
    save_model(make(), tmp_path, settings={})
    config = tmp_path / "config.yaml"
    config.write_text(config.read_text().replace("diagnosis_prompts: 4", "diagnosis_prompts: 5"))
    mark_complete(tmp_path)
    with pytest.raises(ArtifactError, match=r"prompts.learned is \(4, 3, 32\), expected \(5, 3, 32\)"):
        load_model(tmp_path)


def test_other_weights_of_the_text_model_are_refused(make, tmp_path):
    save_model(make(), tmp_path, settings={})
    config = tmp_path / "config.yaml"
    config.write_text(config.read_text().replace(make().text.fingerprint, "0" * 16))
    mark_complete(tmp_path)
    with pytest.raises(ArtifactError, match="other weights of the text model"):
        load_model(tmp_path)


def test_a_text_model_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(EncoderError, match="nowhere") as caught:
        FusionModel(ModelSettings(text_model=str(tmp_path / "nowhere")), SPEC)
    assert "minilm-l6" in caught.value.hint


def test_texts_beyond_the_token_limit_are_counted(make):
    assert (
        make().text.count_truncated(["cells " * 62, "cells " * 63, "cells"]) == 1
    )  # the second has 65 tokens with the two special ones; the limit is 64


def test_a_logit_is_the_scaled_cosine(make):
    model = make(logit_scale=20.0)
    a, b = torch.eye(64)[:1], torch.eye(64)[:2] * 1.0
    torch.testing.assert_close(model.logits(a, b), torch.tensor([[20.0, 0.0]]))


def test_attend_returns_the_bag_vector_and_the_attention_of_the_prompts(make):
    model, one = make(), bag(7)
    prompts = model.encode_prompts()
    vector, maps = model.attend(one, prompts)
    torch.testing.assert_close(vector, model.encode_bags([one], prompts))
    assert maps.shape == (7, 7)
    torch.testing.assert_close(maps.sum(dim=1), torch.ones(7))
