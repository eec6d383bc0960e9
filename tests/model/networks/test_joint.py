from dataclasses import replace

import numpy as np
import pytest
import torch

from pipelines.core.errors import ArtifactError
from pipelines.core.settings.model import ModelSettings
from pipelines.model.data.bags import TileBag
from pipelines.model.networks.bag_model import ModelSpec
from pipelines.model.networks.build import build_model
from pipelines.model.networks.checkpoint import VERSION, load_model, read_config, save_model
from pipelines.model.networks.closed_form import LinearFive
from pipelines.model.networks.five import FiveModel
from pipelines.model.networks.joint import JointFive
from tests.run_manifests import mark_complete

SPEC = ModelSpec(
    5, "toy", "01", 224, 0.5, {"growth": "growth of cells", "mucin": "mucin is present"}, labels=["round", "spindle"]
)
CLASSES = {"round": ["round cells", "rings"], "spindle": ["spindle cells"]}
OTHERS = {"gland": ["glands"], "spindle": ["spindle cells"], "round": ["round cells"]}


@pytest.fixture
def settings(tiny_bert):
    return ModelSettings(text_model=str(tiny_bert), width=64, diagnosis_prompts=2, prompt_tokens=3)


@pytest.fixture
def joint(settings):
    torch.manual_seed(2)
    model = build_model(settings, SPEC).eval()
    assert isinstance(model, JointFive)
    for name in ("centre", "to_text", "spread", "weights", "biases"):  # random values instead of a fit
        getattr(model.linear, name).normal_()
    model.linear.spread.copy_(model.linear.spread @ model.linear.spread.T)
    model.linear.size.fill_(1.5)
    return model


def parts(joint, settings):
    """Return the network and the closed form of ``joint`` as separate models."""
    network = FiveModel(replace(settings, closed_form=False), SPEC).eval()
    network.load_state_dict(joint.network.state_dict())
    linear = LinearFive(replace(settings, model="five-linear"), replace(SPEC, classes=SPEC.labels)).eval()
    linear.load_state_dict(joint.linear.state_dict())
    return network, linear


def bag(n_tiles=7):
    features = torch.randn(n_tiles, 5, generator=torch.Generator().manual_seed(n_tiles))
    corners = np.stack([np.arange(n_tiles), np.arange(n_tiles)], axis=1)
    return TileBag("s", features, corners, 1, torch.zeros(n_tiles, 2), torch.zeros(n_tiles), 1.0)


def logits(model, bags, classes):
    return model.logits(model.encode_bags(bags, model.encode_prompts()), model.encode_classes(classes))


def test_logits_are_those_of_the_network_plus_those_of_the_closed_form(joint, settings):
    bags = [bag(4), bag(9)]
    expected = sum(logits(model, bags, CLASSES) for model in parts(joint, settings))
    torch.testing.assert_close(logits(joint, bags, CLASSES), expected)


def test_the_order_of_the_classes_does_not_matter(joint):
    reversed_classes = {name: CLASSES[name] for name in reversed(CLASSES)}
    torch.testing.assert_close(logits(joint, [bag()], reversed_classes), logits(joint, [bag()], CLASSES).flip(1))


def test_for_classes_without_labels_the_closed_form_uses_only_their_texts(joint, settings):
    network, linear = parts(joint, settings)
    linear.weights.zero_()
    linear.biases.zero_()
    texts = linear.class_text_vectors(OTHERS)
    predicted = linear.standardized(linear.pooled(bag())[None]) @ linear.to_text.T
    expected = logits(network, [bag()], OTHERS) + predicted @ texts.T
    torch.testing.assert_close(logits(joint, [bag()], OTHERS), expected)


def test_attend_returns_the_same_vector_as_encode_bags(joint):
    prompts = joint.encode_prompts()
    vector, maps = joint.attend(bag(), prompts)
    assert vector.shape == (1, joint.vector_width)
    torch.testing.assert_close(vector, joint.encode_bags([bag()], prompts))
    assert maps.shape == (len(joint.prompt_names), 7)


def test_both_parts_standardize_tile_features_in_the_same_way(joint):
    mean, std = torch.arange(5.0), torch.full((5,), 2.0)
    joint.scale_features(mean, std)
    features = bag().features
    torch.testing.assert_close(joint.linear.scaled(features), (features - mean) / std)
    torch.testing.assert_close(joint.network.scaled(features), (features - mean) / std)


def test_with_a_network_weight_of_0_only_the_closed_form_predicts(joint, settings):
    _, linear = parts(joint, settings)
    joint.network_weight = 0.0
    torch.testing.assert_close(logits(joint, [bag()], CLASSES), logits(linear, [bag()], CLASSES))


@pytest.mark.parametrize("weight", [0.0, 0.25])
def test_the_network_weight_is_saved_and_loaded(joint, tmp_path, weight):
    joint.network_weight = weight
    save_model(joint, tmp_path, settings={})
    mark_complete(tmp_path)
    assert read_config(tmp_path).network_weight == weight
    assert load_model(tmp_path).network_weight == weight


def test_a_checkpoint_holds_everything_except_the_published_text_model(joint):
    left_out = joint.state_dict().keys() - joint.learned_state().keys()
    assert left_out
    assert all(".text.model." in name and "lora_" not in name for name in left_out)
    assert {"network.text.projection.weight", "linear.to_text", "linear.biases"} <= joint.learned_state().keys()


def test_a_linear_probe_takes_over_the_network(joint, settings):
    probe = build_model(settings, replace(SPEC, classes=["a", "b"], labels=[])).eval()
    probe.start_from(joint)
    expected = joint.network.encode_bags([bag()], joint.network.encode_prompts())
    torch.testing.assert_close(probe.encode_bags([bag()], probe.encode_prompts())[:, :-1], expected)


def test_a_run_of_another_version_is_refused(joint, tmp_path):
    save_model(joint, tmp_path, settings={})
    config = tmp_path / "config.yaml"
    config.write_text(config.read_text().replace(f"version: {VERSION}", "version: 3"))
    mark_complete(tmp_path)
    with pytest.raises(ArtifactError, match=f"run format 3, expected {VERSION}") as caught:
        load_model(tmp_path)
    assert "--overwrite" in caught.value.hint
