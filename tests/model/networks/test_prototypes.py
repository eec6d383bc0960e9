import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipelines.core.settings.model import PROTOTYPES, ModelSettings
from pipelines.model.data.bags import TileBag
from pipelines.model.networks.bag_model import ModelSpec
from pipelines.model.networks.build import build_model

CLASSES = {"a": ["x"], "b": ["y"]}


def fitted(name, slides, targets):
    """Return a model with the prototypes of ``slides``, which have one tile each."""
    slides = torch.tensor(slides)
    spec = ModelSpec(slides.shape[1], "toy", "01", 224, 0.5, {}, list(CLASSES))
    model = build_model(ModelSettings(model=name), spec).eval()
    model.set_prototypes(slides, torch.tensor(targets))
    return model


def logits(model, tiles, classes=CLASSES):
    tiles = torch.tensor(tiles)
    nothing = torch.zeros(len(tiles))
    bag = TileBag("s", tiles, np.zeros((len(tiles), 2), np.int64), 448, nothing[:, None].expand(-1, 2), nothing, 1.0)
    return model.logits(model.encode_bags([bag], model.encode_prompts()), model.encode_classes(classes))[0]


def test_prototype_is_the_nearest_class_mean():
    model = fitted("prototype", [[0.0, 0.0], [2.0, 0.0], [5.0, 4.0]], [0, 0, 1])
    assert model.means.tolist() == [[1, 0], [5, 4]]
    found = logits(model, [[1.0, 1.0], [3.0, 3.0]])  # the slide is (2, 2): squared distances 5 and 13, length 8
    assert found.tolist() == [8 - 5, 8 - 13]


def test_simpleshot_centers_and_normalizes_the_slides_first():
    model = fitted("simpleshot", [[4.0, 1.0], [1.0, 5.0], [-2.0, -3.0]], [0, 1, 1])
    assert model.centre.tolist() == [1, 1]  # centered: (3, 0), (0, 4), (-3, -4)
    torch.testing.assert_close(model.means, torch.tensor([[1.0, 0.0], [-0.3, 0.1]]))  # of (1, 0), (0, 1), (-0.6, -0.8)
    found = logits(model, [[4.0, 5.0]])  # (3, 4), normalized (0.6, 0.8)
    distances = torch.tensor([0.4**2 + 0.8**2, 0.9**2 + 0.7**2])
    torch.testing.assert_close(found, 1 - distances)


@pytest.mark.parametrize("name", PROTOTYPES)
def test_classes_may_be_given_in_another_order(name):
    model = fitted(name, [[1.0, 0.0], [0.0, 2.0]], [0, 1])
    turned = {key: CLASSES[key] for key in ("b", "a")}
    assert logits(model, [[0.5, 1.5]], turned).tolist() == logits(model, [[0.5, 1.5]]).tolist()[::-1]


@given(st.floats(0.1, 10), st.floats(-5, 5))
def test_simpleshot_does_not_depend_on_the_scale_and_origin_of_the_features(factor, shift):
    slides = np.random.default_rng(0).normal(size=(6, 4))
    tile = np.random.default_rng(1).normal(size=(1, 4))
    first = logits(fitted("simpleshot", slides.tolist(), [0, 1] * 3), tile.tolist())
    moved = fitted("simpleshot", (factor * slides + shift).tolist(), [0, 1] * 3)
    torch.testing.assert_close(logits(moved, (factor * tile + shift).tolist()), first, atol=1e-4, rtol=1e-4)
