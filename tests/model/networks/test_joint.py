from dataclasses import replace

import numpy as np
import pytest
import torch

from pipelines.core.settings.model import ModelSettings
from pipelines.model.data.bags import TileBag
from pipelines.model.networks.bag_model import ModelSpec
from pipelines.model.networks.build import build_model
from pipelines.model.networks.closed_form import LinearFive
from pipelines.model.networks.five import FiveModel
from pipelines.model.networks.joint import JointFive

SPEC = ModelSpec(
    5, "toy", "01", {"growth": "growth of cells", "mucin": "mucin is present"}, labels=["round", "spindle"]
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
    for name in ("centre", "to_text", "spread", "weights", "biases"):  # as if fitted
        getattr(model.linear, name).normal_()
    model.linear.spread.copy_(model.linear.spread @ model.linear.spread.T)
    model.linear.size.fill_(1.5)
    return model


def parts(joint, settings):
    """Return the network and the closed form of ``joint`` as models of their own."""
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


def test_classes_in_another_order_get_their_own_logits(joint):
    turned = {name: CLASSES[name] for name in reversed(CLASSES)}
    torch.testing.assert_close(logits(joint, [bag()], turned), logits(joint, [bag()], CLASSES).flip(1))


def test_of_classes_without_labels_the_closed_form_knows_the_texts_alone(joint, settings):
    network, linear = parts(joint, settings)
    linear.weights.zero_()
    linear.biases.zero_()
    texts = linear.class_texts(OTHERS)
    said = linear.vectors(linear.pooled(bag())[None]) @ linear.to_text.T
    torch.testing.assert_close(logits(joint, [bag()], OTHERS), logits(network, [bag()], OTHERS) + said @ texts.T)


def test_attention_comes_with_the_vector_that_is_predicted_from(joint):
    prompts = joint.encode_prompts()
    vector, maps = joint.attend(bag(), prompts)
    assert vector.shape == (1, joint.vector_width)
    torch.testing.assert_close(vector, joint.encode_bags([bag()], prompts))
    assert maps.shape == (len(joint.prompt_names), 7)


def test_tile_features_are_scaled_alike_in_both(joint):
    mean, std = torch.arange(5.0), torch.full((5,), 2.0)
    joint.scale_features(mean, std)
    one = bag().features
    torch.testing.assert_close(joint.linear.scaled(one), (one - mean) / std)
    torch.testing.assert_close(joint.network.scaled(one), (one - mean) / std)


def test_a_network_that_is_not_heard_leaves_the_closed_form_alone(joint, settings):
    _, linear = parts(joint, settings)
    joint.heard.zero_()
    torch.testing.assert_close(logits(joint, [bag()], CLASSES), logits(linear, [bag()], CLASSES))
